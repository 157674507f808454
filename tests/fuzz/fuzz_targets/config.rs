//! Configuration files: any octets are either refused with problems on lines of the file, or
//! accepted and printed as text that reads back as the same configuration.

#![no_main]

use libfuzzer_sys::fuzz_target;
use udp_heartbeat::config;

fuzz_target!(|octets: &[u8]| {
    let Ok(text) = str::from_utf8(octets) else {
        return;
    };
    // The fuzzer must not read the files that a configuration names.
    if text.contains("key_file") {
        return;
    }
    match config::parse("probe.yml", text) {
        Ok(config) => {
            let mut printed = Vec::new();
            config.to_yaml(&mut printed).expect("memory");
            let printed = String::from_utf8(printed).expect("YAML is text");
            let again = config::parse("printed.yml", &printed).expect("a configuration");
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
        }
        Err(problems) => {
            let lines = text.split('\n').count();
            assert!((1..=100).contains(&problems.iter().count()));
            assert!(problems.iter().all(|problem| problem.place.is_some_and(|place| (1..=lines).contains(&place.line))));
            assert!(problems.iter().all(|problem| problem.message.chars().count() < 500));
        }
    }
});
