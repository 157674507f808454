//! Checks dashboards/ and deploy/ against the catalogue of metrics.
//!
//! Every metric, label and label value in a query must exist, every exposed metric must be on a
//! dashboard, and dashboards must follow the rules of Grafana's dashboard-linter. tests/stack
//! checks that the queries are valid `PromQL` and return data.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use udp_heartbeat::config;
use udp_heartbeat::exposition::catalogue::{self, Family, Kind};
use udp_heartbeat::model::{
    DropReason, IcmpKind, ImpairmentKind, InvalidReason, Label, StampSource, State,
    UnmatchedReason, UnsentReason,
};
use udp_heartbeat::wire::PROTOCOLS;

use promql::{Query, Selector};

#[path = "dashboards/promql.rs"]
mod promql;

/// The metrics of the process that the prometheus crate exposes on Linux.
const PROCESS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

/// The metrics that Prometheus adds to every scrape.
const SCRAPE: [&str; 3] = ["up", "scrape_duration_seconds", "scrape_samples_scraped"];

/// The units of Grafana that dashboards may use.
const UNITS: [&str; 8] =
    ["short", "none", "percentunit", "s", "cps", "bytes", "dateTimeFromNow", "dateTimeAsIso"];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(top().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

/// YAML as JSON, with its aliases resolved.
fn yaml(path: impl AsRef<Path>) -> Value {
    serde_yaml::from_str(&fs::read_to_string(top().join(path)).unwrap()).unwrap()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is not text in {value}"))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is not a list in {value}"))
}

/// A dashboard and the name of its file.
struct Dashboard {
    file: String,
    json: Value,
}

impl Dashboard {
    fn all() -> Vec<Self> {
        let read = |path: PathBuf| Self {
            file: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            json: serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap(),
        };
        files("dashboards").into_iter().map(read).collect()
    }

    /// Every panel, including those in rows, except the rows.
    fn panels(&self) -> Vec<&Value> {
        let tops = list(&self.json, "panels").iter();
        let all = tops.flat_map(|panel| {
            let inside = panel["panels"].as_array().into_iter().flatten();
            std::iter::once(panel).chain(inside)
        });
        all.filter(|panel| panel["type"] != "row").collect()
    }

    fn variables(&self) -> &Vec<Value> {
        list(&self.json["templating"], "list")
    }

    fn variable(&self, name: &str) -> Option<&Value> {
        self.variables().iter().find(|variable| variable["name"] == name)
    }

    /// The queries of panels and annotations, each with its place for messages.
    fn queries(&self) -> Vec<(String, String)> {
        let mut queries = Vec::new();
        for panel in self.panels() {
            for target in list(panel, "targets") {
                let place = format!("{}: {}", self.file, text(panel, "title"));
                queries.push((place, text(target, "expr").to_owned()));
            }
        }
        for annotation in list(&self.json["annotations"], "list") {
            if annotation["builtIn"] != 1 {
                let place = format!("{}: {}", self.file, text(annotation, "name"));
                queries.push((place, text(&annotation["target"], "expr").to_owned()));
            }
        }
        queries
    }

    /// The selectors in the queries of variables, each with its place for messages.
    fn choices(&self) -> Vec<(String, String)> {
        let queries = self.variables().iter().filter(|variable| variable["type"] == "query");
        let choice = |variable: &Value| {
            let query = text(&variable["query"], "query");
            assert_eq!(query, text(variable, "definition"));
            let inside = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
            let (selector, _) = inside.rsplit_once(',').unwrap();
            (format!("{}: {}", self.file, text(variable, "name")), selector.to_owned())
        };
        queries.map(choice).collect()
    }
}

struct Rule {
    /// `record` or `alert`.
    kind: &'static str,
    name: String,
    expr: String,
    json: Value,
}

impl Rule {
    fn all() -> Vec<Self> {
        let mut rules = Vec::new();
        let folders = ["deploy/prometheus/rules", "deploy/prometheus/alerts"];
        for path in folders.into_iter().flat_map(files) {
            for group in list(&yaml(path), "groups") {
                for rule in list(group, "rules") {
                    let kind = if rule["alert"].is_null() { "record" } else { "alert" };
                    rules.push(Self {
                        kind,
                        name: text(rule, kind).to_owned(),
                        expr: text(rule, "expr").to_owned(),
                        json: rule.clone(),
                    });
                }
            }
        }
        rules
    }

    fn alerts() -> Vec<Self> {
        Self::all().into_iter().filter(|rule| rule.kind == "alert").collect()
    }
}

/// Every family of both programs.
fn families() -> Vec<&'static Family> {
    catalogue::probe().chain(catalogue::RESPONDER).collect()
}

/// The family of a series.
fn family(series: &str) -> Option<&'static Family> {
    families().into_iter().find(|family| {
        let suffixes: &[&str] = match family.kind {
            Kind::Counter | Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Summary => &["_sum", "_count"],
        };
        suffixes.iter().any(|suffix| series.strip_suffix(suffix) == Some(family.name))
    })
}

/// The labels that a series can have, or `None` if there is no such series.
fn labels(series: &str, recorded: &BTreeSet<String>) -> Option<Vec<&'static str>> {
    let mut labels = vec!["job", "instance"];
    if recorded.contains(series) {
        if series.starts_with("target:") {
            labels.push("target");
        }
        return Some(labels);
    }
    if PROCESS.contains(&series) || SCRAPE.contains(&series) {
        return Some(labels);
    }
    let family = family(series)?;
    labels.extend(family.labels);
    if catalogue::PER_TARGET.contains(family) {
        labels.push("target");
    }
    if series.ends_with("_bucket") {
        labels.push("le");
    }
    Some(labels)
}

fn words<L: Label>() -> Vec<&'static str> {
    L::ALL.iter().map(|label| label.label()).collect()
}

/// The values that a label of a series can have, if they are a closed set.
fn label_values(series: &str, label: &str) -> Option<Vec<&'static str>> {
    Some(match (series, label) {
        ("heartbeat_unsent_total", "reason") => words::<UnsentReason>(),
        ("heartbeat_invalid_replies_total", "reason") => words::<InvalidReason>(),
        ("heartbeat_probe_unmatched_total", "reason") => words::<UnmatchedReason>(),
        ("heartbeat_responder_dropped_total", "reason") => words::<DropReason>(),
        ("heartbeat_responder_impaired_total", "kind") => words::<ImpairmentKind>(),
        ("heartbeat_icmp_errors_total", "kind") => words::<IcmpKind>(),
        ("heartbeat_state_changes_total", "state") => words::<State>(),
        ("heartbeat_probe_timestamps_total", "source") => words::<StampSource>(),
        (_, "protocol") => PROTOCOLS.iter().map(|protocol| protocol.name()).collect(),
        _ => return None,
    })
}

/// The metrics of a selector: its name, or those in a matcher on `__name__`.
fn metrics(selector: &Selector) -> Vec<&str> {
    if !selector.metric.is_empty() {
        return vec![&selector.metric];
    }
    let names = selector.matchers.iter().find(|(label, ..)| label == "__name__");
    names.unwrap_or_else(|| panic!("{selector:?} names no metric")).2.split('|').collect()
}

/// Panics if a query has a metric, a label or a label value that does not exist.
fn check_names(place: &str, text: &str, recorded: &BTreeSet<String>) {
    let query = Query::read(text);
    let mut known: Vec<&str> = query.made.iter().map(String::as_str).collect();
    for selector in &query.selectors {
        for metric in metrics(selector) {
            let labels = labels(metric, recorded)
                .unwrap_or_else(|| panic!("{place}: there is no {metric}, in {text}"));
            for (label, _, value) in &selector.matchers {
                let exists = label == "__name__" || labels.contains(&label.as_str());
                assert!(exists, "{place}: {metric} has no label {label}, in {text}");
                let Some(values) = label_values(metric, label) else { continue };
                for value in value.split('|') {
                    let exists = values.contains(&value);
                    assert!(exists, "{place}: {label} is never {value}, in {text}");
                }
            }
            known.extend(labels);
        }
    }
    for label in &query.grouping {
        assert!(known.contains(&label.as_str()), "{place}: nothing has a label {label}, in {text}");
    }
    assert!(!query.selectors.is_empty(), "{place}: {text} has no selector");
}

fn recorded() -> BTreeSet<String> {
    let records = Rule::all().into_iter().filter(|rule| rule.kind == "record");
    records.map(|rule| rule.name).collect()
}

#[test]
fn names_in_queries_exist() {
    for dashboard in Dashboard::all() {
        // Dashboards use no recorded series, so that they work without the rules.
        for (place, query) in dashboard.queries().into_iter().chain(dashboard.choices()) {
            check_names(&place, &query, &BTreeSet::new());
        }
    }
}

#[test]
fn names_in_rules_exist() {
    let recorded = recorded();
    for rule in Rule::all() {
        check_names(&rule.name, &rule.expr, &recorded);
    }
}

#[test]
#[should_panic(expected = "there is no heartbeat_lost")]
fn an_unknown_metric_is_found() {
    check_names("a panel", "rate(heartbeat_lost[5m])", &recorded());
}

#[test]
#[should_panic(expected = "heartbeat_up has no label reason")]
fn an_unknown_label_is_found() {
    check_names("a panel", r#"heartbeat_up{reason="x"}"#, &recorded());
}

#[test]
#[should_panic(expected = "state is never sideways")]
fn an_unknown_label_value_is_found() {
    let query = r#"heartbeat_state_changes_total{state=~"up|sideways"}"#;
    check_names("a panel", query, &recorded());
}

#[test]
#[should_panic(expected = "nothing has a label site")]
fn a_grouping_by_an_unknown_label_is_found() {
    check_names("a panel", "sum by (site) (heartbeat_up)", &recorded());
}

#[test]
fn every_exposed_metric_is_on_a_dashboard() {
    let mut shown = BTreeSet::new();
    for (_, text) in Dashboard::all().iter().flat_map(Dashboard::queries) {
        for selector in Query::read(&text).selectors {
            shown.extend(metrics(&selector).into_iter().filter_map(family).map(|f| f.name));
        }
    }
    let hidden: Vec<_> =
        families().into_iter().map(|f| f.name).filter(|name| !shown.contains(name)).collect();
    assert!(hidden.is_empty(), "no dashboard shows {hidden:?}");
}

#[test]
fn every_query_can_be_narrowed_to_a_job_and_an_instance() {
    for dashboard in Dashboard::all() {
        for (place, text) in dashboard.queries() {
            for selector in Query::read(&text).selectors {
                for name in ["job", "instance"] {
                    let chosen = selector.matches(name, "=~", &format!("${name}"));
                    assert!(chosen, "{place}: {} lacks ${name}", selector.metric);
                }
                // Metrics of targets are filtered by target on dashboards with that variable.
                let of_target =
                    family(&selector.metric).is_some_and(|f| catalogue::PER_TARGET.contains(f));
                let chosen = selector.matches("target", "=~", "$target");
                let can = of_target && dashboard.variable("target").is_some();
                assert_eq!(chosen, can, "{place}: {} and $target", selector.metric);
            }
        }
    }
}

/// The value of a counter is meaningless, and a rate over a fixed range skips samples at one zoom
/// level and smooths them at another.
#[test]
fn counters_are_shown_as_rates_over_rate_interval() {
    for dashboard in Dashboard::all() {
        for (place, text) in dashboard.queries() {
            for selector in Query::read(&text).selectors {
                let function = selector.function.as_deref();
                let is_rate = matches!(function, Some("rate" | "irate" | "increase"));
                let grows = selector.metric.ends_with("_total")
                    || family(&selector.metric)
                        .is_some_and(|f| matches!(f.kind, Kind::Histogram | Kind::Summary));
                assert_eq!(grows, is_rate, "{place}: {} by {function:?}", selector.metric);
                match selector.range.as_deref() {
                    None => assert!(!is_rate, "{place}: {} has no range", selector.metric),
                    Some("$__rate_interval") => {}
                    Some("$__range") => assert_ne!(function, Some("rate"), "{place}"),
                    Some(other) => panic!("{place}: a range of {other}"),
                }
            }
        }
    }
}

#[test]
fn variables_have_the_usual_settings() {
    for dashboard in Dashboard::all() {
        let file = &dashboard.file;
        let source = dashboard.variable("datasource").expect("a variable for the data source");
        assert_eq!(source["type"], "datasource", "{file}");
        assert_eq!(source["query"], "prometheus", "{file}");
        assert_eq!(source["label"], "Data source", "{file}");
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let variable = dashboard.variable(name).unwrap_or_else(|| panic!("{file}: no {name}"));
            assert_eq!(variable["type"], "query", "{file}: {name}");
            assert_eq!(variable["label"], label, "{file}");
            assert_eq!(variable["multi"], true, "{file}: {name}");
            assert_eq!(variable["includeAll"], true, "{file}: {name}");
            assert_eq!(variable["allValue"], ".+", "{file}: {name}");
        }
        for variable in dashboard.variables() {
            let name = text(variable, "name");
            assert!(!text(variable, "label").is_empty(), "{file}: {name}");
            assert!(!text(variable, "description").is_empty(), "{file}: {name}");
            if variable["type"] == "query" {
                assert_eq!(variable["refresh"], 2, "{file}: {name} refreshes on a new time range");
            }
            if variable["type"] != "datasource" {
                assert_eq!(variable["datasource"]["uid"], "${datasource}", "{file}: {name}");
            }
        }
    }
    // The labels of targets are configured by users, so these dashboards have ad hoc filters.
    for file in ["overview", "target"] {
        let dashboards = Dashboard::all();
        let dashboard = dashboards.iter().find(|dashboard| dashboard.file == file).unwrap();
        assert_eq!(dashboard.variable("labels").unwrap()["type"], "adhoc");
        assert!(dashboard.variable("target").is_some());
    }
}

#[test]
fn panels_have_titles_descriptions_and_units() {
    for dashboard in Dashboard::all() {
        for panel in dashboard.panels() {
            let place = format!("{}: {}", dashboard.file, text(panel, "title"));
            assert!(!text(panel, "title").is_empty(), "{place}");
            let description = text(panel, "description");
            assert!(description.ends_with('.'), "{place}: the description is a sentence");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{place}");
            let unit = match text(panel, "type") {
                "heatmap" => &panel["options"]["yAxis"]["unit"],
                "state-timeline" => continue,
                _ => &panel["fieldConfig"]["defaults"]["unit"],
            };
            let unit = unit.as_str().unwrap_or_else(|| panic!("{place}: has no unit"));
            assert!(UNITS.contains(&unit), "{place}: unexpected unit {unit}");
            let references: BTreeSet<_> =
                list(panel, "targets").iter().map(|target| text(target, "refId")).collect();
            assert!(!references.is_empty(), "{place}: has no query");
            assert_eq!(references.len(), list(panel, "targets").len(), "{place}: refIds");
            for target in list(panel, "targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{place}");
            }
        }
    }
}

#[test]
fn dashboards_can_be_imported_side_by_side() {
    let dashboards = Dashboard::all();
    let uids: BTreeSet<_> = dashboards.iter().map(|d| text(&d.json, "uid")).collect();
    let titles: BTreeSet<_> = dashboards.iter().map(|d| text(&d.json, "title")).collect();
    assert_eq!((uids.len(), titles.len()), (dashboards.len(), dashboards.len()));
    for dashboard in &dashboards {
        let Dashboard { file, json } = dashboard;
        assert!(json["id"].is_null(), "{file}: Grafana assigns the id");
        assert_eq!(text(json, "uid"), format!("heartbeat-{file}"));
        assert!(json["schemaVersion"].as_u64().unwrap() >= 39, "{file}: Grafana 11 or later");
        assert_eq!(json["editable"], false, "{file}: changes belong in the file");
        assert_eq!(json["tags"][0], "udp-heartbeat", "{file}");
        let link = &json["links"][0];
        assert_eq!(link["tags"][0], "udp-heartbeat", "{file}: links to the other dashboards");
        assert_eq!((&link["includeVars"], &link["keepTime"]), (&true.into(), &true.into()));
        let panels = list(json, "panels");
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{file}: ids of panels");
        assert_no_overlap(file, panels);
    }
    // Links to dashboards have existing uids.
    let mut links = 0;
    for Dashboard { file, json } in &dashboards {
        for link in json.to_string().split("\"/d/").skip(1) {
            let uid = link.split('?').next().unwrap();
            assert!(uids.contains(uid), "{file}: unknown uid {uid}");
            links += 1;
        }
    }
    assert_eq!(links, 3, "the tables of worst targets link to Heartbeat / Target");
}

fn assert_no_overlap(file: &str, panels: &[Value]) {
    let mut taken = BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{file}: {} is too wide", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{file}: {} overlaps another panel", panel["title"]);
        }
    }
}

#[test]
fn changes_of_state_are_annotated() {
    for dashboard in Dashboard::all().iter().filter(|d| ["overview", "target"].contains(&&*d.file))
    {
        let annotations = list(&dashboard.json["annotations"], "list").iter();
        let own: Vec<_> = annotations.filter(|annotation| annotation["builtIn"] != 1).collect();
        let names: Vec<_> = own.iter().map(|annotation| text(annotation, "name")).collect();
        assert_eq!(names, ["Went down", "Came up"], "{}", dashboard.file);
        // The value of the query is the time of the change, in milliseconds.
        assert!(own.iter().all(|annotation| annotation["useValueForTime"] == true));
    }
}

/// Recorded names are `level:metric:operations` with a known level and metric.
#[test]
fn recorded_names_follow_the_convention() {
    for name in recorded() {
        let parts: Vec<_> = name.split(':').collect();
        let [level, metric, operations] = parts[..] else { panic!("{name}") };
        assert!(["target", "instance"].contains(&level), "{name}");
        let of = metric.split("_per_").next().unwrap();
        let known = families().iter().any(|f| f.name == of || f.name == format!("{of}_total"));
        assert!(known || metric == "heartbeat_down_by_chance", "{name}: no metric {metric}");
        assert!(!operations.is_empty(), "{name}");
    }
}

#[test]
fn alerts_have_annotations_and_runbooks() {
    let runbooks = fs::read_to_string(top().join("deploy/runbooks.md")).unwrap();
    let sections: BTreeSet<_> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = Rule::alerts();
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(sections, names, "each alert has a section");
    for Rule { name, json, .. } in &alerts {
        let (labels, annotations) = (&json["labels"], &json["annotations"]);
        assert!(["critical", "warning"].contains(&text(labels, "severity")), "{name}");
        assert!(["probe", "fleet", "target"].contains(&text(labels, "scope")), "{name}");
        assert!(!text(annotations, "summary").is_empty(), "{name}");
        assert!(text(annotations, "description").len() > 20, "{name}");
        let section = format!("deploy/runbooks.md#{}", name.to_lowercase());
        assert_eq!(text(annotations, "runbook"), section, "{name}");
    }
}

#[test]
fn queries_in_annotations_name_recorded_metrics() {
    let recorded = recorded();
    let mut queries = 0;
    for Rule { name, json, .. } in Rule::alerts() {
        for annotation in json["annotations"].as_object().unwrap().values() {
            for query in annotation.as_str().unwrap().split("printf \"target:").skip(1) {
                let metric = format!("target:{}", query.split('{').next().unwrap());
                assert!(recorded.contains(&metric), "{name} queries {metric}");
                queries += 1;
            }
        }
    }
    assert_eq!(queries, 4);
}

#[test]
fn every_alert_and_every_record_has_unit_tests() {
    let (mut firing, mut silent, mut records) = (BTreeSet::new(), BTreeSet::new(), String::new());
    for path in files("deploy/prometheus/tests") {
        for test in list(&yaml(path), "tests") {
            for alert in test["alert_rule_test"].as_array().into_iter().flatten() {
                let set =
                    if list(alert, "exp_alerts").is_empty() { &mut silent } else { &mut firing };
                set.insert(text(alert, "alertname").to_owned());
            }
            for query in test["promql_expr_test"].as_array().into_iter().flatten() {
                records.push_str(text(query, "expr"));
                records.push('\n');
            }
        }
    }
    let names: BTreeSet<_> = Rule::alerts().into_iter().map(|alert| alert.name).collect();
    assert_eq!(firing, names, "each alert has a test in which it fires");
    let without: BTreeSet<_> = names.difference(&silent).map(String::as_str).collect();
    // These two have no test in which no alert fires. In their tests, one target fires and the
    // others stay silent.
    assert_eq!(without, BTreeSet::from(["HeartbeatTargetBurstLoss", "HeartbeatTargetDown"]));
    for name in recorded() {
        assert!(records.contains(&name), "{name} has no test");
    }
}

#[test]
fn inhibition_rules_name_existing_alerts_and_scopes() {
    let alertmanager = yaml("deploy/alertmanager/alertmanager.yml");
    let names: BTreeSet<_> = Rule::alerts().into_iter().map(|alert| alert.name).collect();
    let rules = list(&alertmanager, "inhibit_rules");
    assert_eq!(rules.len(), 3);
    for rule in rules {
        for matcher in list(rule, "source_matchers").iter().chain(list(rule, "target_matchers")) {
            let matcher = matcher.as_str().unwrap();
            let (label, value) = matcher.split_once('=').unwrap();
            for word in value.trim_start_matches('~').trim_matches('"').split('|') {
                match label {
                    "alertname" => assert!(names.contains(word), "{matcher}"),
                    "scope" => assert!(["probe", "fleet", "target"].contains(&word), "{matcher}"),
                    _ => panic!("{matcher}: unknown label"),
                }
            }
        }
    }
}

#[test]
fn the_files_of_the_compose_stack_agree() {
    let compose = yaml("deploy/docker-compose.yml");
    let settings = fs::read_to_string(top().join("deploy/.env")).unwrap();
    let version = format!("HEARTBEAT_VERSION={}", env!("CARGO_PKG_VERSION"));
    assert!(settings.lines().any(|line| line == version), "deploy/.env lacks {version}");

    // Every target of the probe is a service.
    let watched = config::load(&top().join("deploy/probe/heartbeat-probe.yml")).unwrap();
    for target in &watched.targets {
        let service = target.address.host.to_string();
        assert!(compose["services"][&service].is_object(), "no service {service}");
    }
    // Every scraped host is a service, and the jobs have the names that the rules use.
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    let jobs = list(&prometheus, "scrape_configs");
    let names: Vec<_> = jobs.iter().map(|job| text(job, "job_name")).collect();
    assert_eq!(names[..2], ["heartbeat-probe", "heartbeat-responder"]);
    for target in jobs.iter().flat_map(|job| list(&job["static_configs"][0], "targets")) {
        let (host, _) = target.as_str().unwrap().split_once(':').unwrap();
        assert!(host == "localhost" || compose["services"][host].is_object(), "no {host}");
    }
    // The home dashboard of Grafana exists.
    let home =
        compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
            .as_str()
            .unwrap();
    let file = home.strip_prefix("/var/lib/dashboards/").unwrap();
    assert!(top().join("dashboards").join(file).exists(), "no {home}");
    // Grafana computes $__rate_interval from the scrape interval of Prometheus.
    let source = yaml("deploy/grafana/provisioning/datasources/prometheus.yml");
    let interval = &source["datasources"][0]["jsonData"]["timeInterval"];
    assert_eq!(interval, &prometheus["global"]["scrape_interval"]);
}
