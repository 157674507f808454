//! The numbers of network interfaces by their names.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::{InterfaceName, Mono};

/// How long an answer of the system is used. A name can belong to
/// another interface after an interface is created again or renamed.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// The number of remembered names above which old answers are forgotten.
const MANY: usize = 1024;

/// The numbers of interfaces. The system is asked for each when it is used, at most once a second.
#[derive(Debug, Default)]
pub struct Interfaces {
    /// Each answer, and until when it is used.
    answers: HashMap<InterfaceName, (Option<u32>, Mono)>,
}

impl Interfaces {
    /// The number of the interface `name` at `now`; `None` if there is no such interface.
    pub fn number(&mut self, name: InterfaceName, now: Mono) -> Option<u32> {
        self.number_by(name, now, |name| interface_number(name.as_str()))
    }

    fn number_by(
        &mut self,
        name: InterfaceName,
        now: Mono,
        ask: impl FnOnce(InterfaceName) -> Option<u32>,
    ) -> Option<u32> {
        if let Some(&(number, until)) = self.answers.get(&name)
            && now < until
        {
            return number;
        }
        if self.answers.len() >= MANY {
            self.answers.retain(|_, (_, until)| now < *until);
        }
        let number = ask(name);
        self.answers.insert(name, (number, now + FRESH_FOR));
        number
    }
}

/// The number of the network interface with this name (`if_nametoindex(3)`), if there is one.
#[must_use]
pub fn interface_number(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::default() + Duration::from_millis(millis)
    }

    #[test]
    fn the_system_is_asked_once_a_second_also_while_there_is_no_such_interface() {
        let name = InterfaceName::new("eth1").unwrap();
        let mut interfaces = Interfaces::default();
        for (millis, answer, number) in [
            (0, Some(None), None),
            (999, None, None),
            (1_000, Some(Some(7)), Some(7)),
            (1_999, None, Some(7)),
            (2_000, Some(Some(9)), Some(9)),
        ] {
            let ask = |asked| {
                assert_eq!(asked, name);
                answer.expect("the answer is fresh")
            };
            assert_eq!(interfaces.number_by(name, at(millis), ask), number, "at {millis} ms");
        }
    }

    #[test]
    fn the_loopback_interface_has_a_number_and_an_unknown_one_has_none() {
        let mut interfaces = Interfaces::default();
        let mut number = |name| interfaces.number(InterfaceName::new(name).unwrap(), at(0));
        assert_eq!(number("lo"), interface_number("lo"));
        assert!(number("lo").is_some());
        assert_eq!(number("nosuch0"), None);
    }

    #[test]
    fn old_answers_are_forgotten() {
        let mut interfaces = Interfaces::default();
        for n in 0..MANY {
            let name = InterfaceName::new(&format!("if{n}")).unwrap();
            interfaces.number_by(name, at(0), |_| Some(1));
        }
        assert_eq!(interfaces.answers.len(), MANY);
        interfaces.number(InterfaceName::new("lo").unwrap(), at(1_000));
        assert_eq!(interfaces.answers.len(), 1);
    }
}
