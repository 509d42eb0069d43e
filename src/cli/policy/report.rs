//! How the results of tests are written: for people, for programs, for CI.

use std::{io::Write, time::Duration};

use anstyle::AnsiColor;
use serde_json::json;

use super::{coloured, show};
use crate::{
    escape::is_invisible,
    policy::{
        testing::{Case, Coverage, Outcome, Report, Test},
        why::{self, Told},
    },
};

type Written = std::io::Result<()>;

pub fn pretty(out: &mut impl Write, report: &Report, verbose: bool) -> Written {
    let shown = |t: &&Test| verbose || t.outcome != Outcome::Pass;
    let mut any = false;
    for test in report.tests.iter().filter(shown) {
        any = true;
        pretty_test(out, test, verbose)?;
    }
    let (passed, failed, skipped) = report.counts();
    let all = report.tests.len();
    if any {
        writeln!(out, "{}", "-".repeat(80))?;
    }
    writeln!(out, "{}", coloured(AnsiColor::Green, &format!("PASS: {passed}/{all}")))?;
    if failed > 0 {
        writeln!(out, "{}", coloured(AnsiColor::Red, &format!("FAIL: {failed}/{all}")))?;
    }
    if skipped > 0 {
        writeln!(out, "SKIPPED: {skipped}/{all}")?;
    }
    report.coverage.as_ref().map_or(Ok(()), |c| pretty_coverage(out, c))
}

fn pretty_test(out: &mut impl Write, test: &Test, verbose: bool) -> Written {
    let took = format!("({:.3} ms)", milliseconds(test.took));
    let (name, place) = (show(&test.name), format!("{}:{}", show(&test.path), test.line));
    let (word, colour) = match &test.outcome {
        Outcome::Pass => ("PASS", AnsiColor::Green),
        Outcome::Skipped => return writeln!(out, "{place}:\n{name}: SKIPPED"),
        Outcome::Fail => ("FAIL", AnsiColor::Red),
        Outcome::Error(_) => ("ERROR", AnsiColor::Red),
    };
    writeln!(out, "{place}:\n{name}: {} {took}", coloured(colour, word))?;
    for Case { name, passed } in &test.cases {
        if verbose || !passed {
            let word =
                if *passed { coloured(AnsiColor::Green, "PASS") } else { coloured(AnsiColor::Red, "FAIL") };
            writeln!(out, "  {}: {word}", show(name))?;
        }
    }
    if let Outcome::Error(why) = &test.outcome {
        writeln!(out, "  {}", show(why))?;
    }
    if test.outcome != Outcome::Pass {
        match &test.why {
            Some(why) => told(out, why, 1)?,
            None => writeln!(out, "  {} | {}", test.line, show(&test.source))?,
        }
    }
    if verbose || test.outcome != Outcome::Pass {
        for line in &test.prints {
            writeln!(out, "  {}", show(line))?;
        }
    }
    Ok(())
}

/// Why a rule has no value, or not the one that was wanted.
pub fn told(out: &mut impl Write, rule: &Told, depth: usize) -> Written {
    let style = why::Style { paint: |text| coloured(AnsiColor::Yellow, text), ..why::Style::PLAIN };
    out.write_all(why::text(rule, depth, style).as_bytes())
}

fn milliseconds(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

fn pretty_coverage(out: &mut impl Write, coverage: &Coverage) -> Written {
    let width = coverage.files.iter().map(|f| f.path.chars().count()).max().unwrap_or(0);
    for file in &coverage.files {
        let colour = if file.not_covered.is_empty() { AnsiColor::Green } else { AnsiColor::Red };
        let percent = coloured(colour, &format!("{:5.1} %", file.percent()));
        let lines = file.uncovered_ranges();
        let lines = if lines.is_empty() { lines } else { format!("  not covered: {lines}") };
        writeln!(out, "{:<width$}  {percent}{lines}", show(&file.path))?;
    }
    writeln!(out, "COVERAGE: {:.1} %", coverage.percent())
}

/// An object with `tests`, `passed`, `failed`, `skipped`, and `coverage` where it was asked for.
pub fn json(out: &mut impl Write, report: &Report) -> Written {
    let (passed, failed, skipped) = report.counts();
    let tests: Vec<serde_json::Value> = report.tests.iter().map(json_test).collect();
    let mut document = json!({ "tests": tests, "passed": passed, "failed": failed, "skipped": skipped });
    if let Some(coverage) = &report.coverage {
        let files: Vec<_> = coverage
            .files
            .iter()
            .map(|f| json!({"path": f.path, "percent": f.percent(), "covered": f.covered, "not_covered": f.not_covered}))
            .collect();
        document["coverage"] = json!({"percent": coverage.percent(), "files": files});
    }
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn json_test(test: &Test) -> serde_json::Value {
    let mut t = json!({
        "name": test.name,
        "package": test.package,
        "location": {"file": test.path, "line": test.line, "column": test.column},
        "outcome": word(&test.outcome),
        "duration_ms": milliseconds(test.took),
    });
    if let Outcome::Error(why) = &test.outcome {
        t["error"] = json!(why);
    }
    if !test.cases.is_empty() {
        t["cases"] = test.cases.iter().map(|c| json!({"name": c.name, "passed": c.passed})).collect();
    }
    if !test.prints.is_empty() {
        t["output"] = json!(test.prints);
    }
    if let Some(why) = &test.why {
        t["why"] = json!(why);
    }
    t
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Error(_) => "error",
        Outcome::Skipped => "skip",
    }
}

/// One line on why a test did not pass.
fn reason(test: &Test) -> String {
    let failed = test.cases.iter().filter(|c| !c.passed).map(|c| c.name.as_str()).collect::<Vec<_>>();
    match &test.outcome {
        Outcome::Error(why) => why.clone(),
        _ if !failed.is_empty() => format!("failed cases: {}", failed.join(", ")),
        _ => "not true".to_owned(),
    }
}

/// A testsuite for each package, as Jenkins and GitLab read it.
pub fn junit(out: &mut impl Write, report: &Report) -> Written {
    let (_, failed, skipped) = report.counts();
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<testsuites tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\">",
        report.tests.len()
    )?;
    let packages: std::collections::BTreeSet<&str> =
        report.tests.iter().map(|t| t.package.as_str()).collect();
    for package in packages {
        let tests: Vec<&Test> = report.tests.iter().filter(|t| t.package == package).collect();
        let bad = |t: &&&Test| matches!(t.outcome, Outcome::Fail | Outcome::Error(_));
        let skipped = tests.iter().filter(|t| t.outcome == Outcome::Skipped).count();
        writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{skipped}\">",
            xml(package),
            tests.len(),
            tests.iter().filter(bad).count()
        )?;
        tests.into_iter().try_for_each(|t| junit_test(out, t))?;
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

fn junit_test(out: &mut impl Write, test: &Test) -> Written {
    let name = test.name.rsplit('.').next().unwrap_or(&test.name);
    write!(
        out,
        "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.6}\"",
        xml(&test.package),
        xml(name),
        xml(&test.path),
        test.line,
        test.took.as_secs_f64()
    )?;
    match test.outcome {
        Outcome::Pass => writeln!(out, "/>"),
        Outcome::Skipped => writeln!(out, "><skipped/></testcase>"),
        Outcome::Fail | Outcome::Error(_) => {
            let mut text = test.prints.join("\n");
            text.insert_str(0, &format!("{}:{}: {}\n", test.path, test.line, test.source.trim()));
            writeln!(out, "><failure message=\"{}\">{}</failure></testcase>", xml(&reason(test)), xml(&text))
        }
    }
}

/// Text in XML 1.0, which has no control characters.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Test Anything Protocol, version 14.
pub fn tap(out: &mut impl Write, report: &Report) -> Written {
    writeln!(out, "TAP version 14\n1..{}", report.tests.len())?;
    for (i, test) in report.tests.iter().enumerate() {
        let name = show(&test.name).replace('\\', "\\\\").replace('#', "\\#");
        match &test.outcome {
            Outcome::Pass => writeln!(out, "ok {} - {name}", i + 1)?,
            Outcome::Skipped => writeln!(out, "ok {} - {name} # SKIP", i + 1)?,
            Outcome::Fail | Outcome::Error(_) => {
                writeln!(out, "not ok {} - {name}", i + 1)?;
                // JSON strings are YAML.
                writeln!(
                    out,
                    "  ---\n  message: {}\n  at: {}\n  ...",
                    json!(reason(test)),
                    json!(format!("{}:{}", test.path, test.line))
                )?;
            }
        }
    }
    Ok(())
}

/// Annotations of a GitHub workflow, and a line with the numbers.
pub fn github(out: &mut impl Write, report: &Report) -> Written {
    for test in &report.tests {
        if matches!(test.outcome, Outcome::Fail | Outcome::Error(_)) {
            let message = format!("{}: {}", test.name, reason(test));
            annotation(out, "error", &test.path, test.line, test.column, "Rego test", &message)?;
        }
    }
    for file in report.coverage.iter().flat_map(|c| &c.files).filter(|f| !f.not_covered.is_empty()) {
        let line = file.not_covered.first().copied().unwrap_or(1);
        let message = format!("not covered by tests: lines {}", file.uncovered_ranges());
        annotation(out, "warning", &file.path, line, 1, "Coverage", &message)?;
    }
    let (passed, failed, skipped) = report.counts();
    writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")
}

/// `::error file=…,line=…,col=…,title=…::message`
pub fn annotation(
    out: &mut impl Write,
    level: &str,
    path: &str,
    line: u32,
    column: u32,
    title: &str,
    message: &str,
) -> Written {
    let data = |s: &str| {
        let plain: String =
            s.chars().filter(|c| *c == '\n' || !c.is_control() && !is_invisible(*c)).collect();
        plain.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
    };
    let property = |s: &str| data(s).replace(':', "%3A").replace(',', "%2C");
    writeln!(
        out,
        "::{level} file={},line={line},col={column},title={}::{}",
        property(path),
        property(title),
        data(message)
    )
}
