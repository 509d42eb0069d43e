//! regorus, tamed: strict, on time, without clock and chance, and never able to take the gate down.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use regorus::{Engine, LimitError, Value, utils::limits::ExecutionTimerConfig};

use super::{
    ast, builtins,
    bundle::Checked,
    error::{EngineError, LoadError},
    metadata::ControlMeta,
    names::Names,
    saying,
};
use crate::time::Time;

/// Engine and version, as a verdict names it.
pub const ENGINE: &str = "regorus 0.14.1";

/// What one rule may take. Built-ins are not interrupted, so it may end somewhat later.
pub const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Package of the rules that ask the controls; authors may not use it.
pub(crate) const OWN_PACKAGE: &str = "gatelog_internal";

/// Checks of the clock per so many steps of evaluation.
const CLOCK_EVERY: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);

/// An engine with a bundle in it, parsed and prepared once; a clone takes half a microsecond.
pub(crate) struct Template {
    engine: Engine,
    plans: Vec<Plan>,
}

/// Which questions a control answers.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub needs: bool,
    pub applies: bool,
    pub skip_reason: bool,
}

impl Template {
    /// # Errors
    /// What regorus finds wrong when it prepares the policies: unsafe variables, conflicts.
    pub(crate) fn new(
        checked: &Checked,
        controls: &[ControlMeta],
        names: &Names<'_>,
    ) -> Result<Self, LoadError> {
        let plans: Vec<Plan> = controls.iter().map(|c| Plan::new(c, names)).collect();
        let asking = asking(controls, names);
        let engine = prepare(checked, &checked.rewritten, &asking)?;
        Ok(Self { engine, plans })
    }

    /// An engine that is ready, without controls.
    pub(crate) fn of(engine: Engine) -> Self {
        Self { engine, plans: vec![] }
    }

    pub(crate) fn plan(&self, control: usize) -> Option<&Plan> {
        self.plans.get(control)
    }

    /// An evaluation of one input, at its time.
    pub(crate) fn evaluator(&self, input: &Value, time: Time) -> Evaluator<'_> {
        Evaluator { template: &self.engine, input: input.clone(), time, engine: None, reached: None }
    }
}

impl Plan {
    fn new(control: &ControlMeta, names: &Names<'_>) -> Self {
        let package: Vec<String> = control.package.split('.').map(str::to_owned).collect();
        let declares = |name| names.declares(&package, name);
        Self { needs: declares("needs"), applies: declares("applies"), skip_reason: declares("skip_reason") }
    }
}

/// The questions to each control, as rules: arrays that are empty where the answer is undefined.
fn asking(controls: &[ControlMeta], names: &Names<'_>) -> String {
    let mut text = format!("package {OWN_PACKAGE}\n\n");
    for (i, control) in controls.iter().enumerate() {
        let package: Vec<String> = control.package.split('.').map(str::to_owned).collect();
        let ask = |name: &str| format!("[x | x := data.{}.{name}]", control.package);
        for one in ["needs", "applies", "skip_reason"] {
            if names.declares(&package, one) {
                text.push_str(&format!("{one}_{i} := {}\n", ask(one)));
            }
        }
        let said: Vec<String> = ["allow", "violations", "exception", "valid_until"]
            .into_iter()
            .filter(|name| names.declares(&package, name))
            .chain(saying::sets(names, &package))
            .map(|name| format!("\"{name}\": {}", ask(name)))
            .collect();
        text.push_str(&format!("says_{i} := {{{}}}\n", said.join(", ")));
    }
    text
}

/// A new engine with everything set, before policies are added.
pub(crate) fn blank() -> Result<Engine, LoadError> {
    let mut engine = Engine::new();
    engine.set_policy_length_config(ast::lengths());
    engine.set_strict_builtin_errors(true);
    engine.set_gather_prints(true);
    engine
        .set_execution_timer_config(ExecutionTimerConfig { limit: TIME_LIMIT, check_interval: CLOCK_EVERY });
    builtins::install(&mut engine).map_err(|e| LoadError::new("engine", format!("{e}")))?;
    Ok(engine)
}

/// Loads texts (author's or rewritten) and data, and makes regorus analyse them.
pub(crate) fn prepare(
    checked: &Checked,
    texts: &std::collections::BTreeMap<String, String>,
    asking: &str,
) -> Result<Engine, LoadError> {
    let mut engine = blank()?;
    for (path, text) in texts.iter().filter(|(path, _)| path.ends_with(".rego")) {
        engine
            .add_policy(path.clone(), text.clone())
            .map_err(|e| ast::located(path, text, &format!("{e}")))?;
    }
    let whole = |e: anyhow::Error| {
        let text = format!("{e}");
        let path = EngineError::read(&text).path.unwrap_or_default();
        ast::located(&path, texts.get(&path).map_or("", String::as_str), &text)
    };
    let own = if asking.is_empty() { format!("package {OWN_PACKAGE}\n") } else { asking.to_owned() };
    engine.add_policy(OWN_PACKAGE.to_owned(), own + "\nready := true\n").map_err(whole)?;
    let data = Value::from_json_str(&checked.data.to_string()).map_err(whole)?;
    engine.add_data(data).map_err(whole)?;
    engine.eval_rule(format!("data.{OWN_PACKAGE}.ready")).map_err(whole)?;
    Ok(engine)
}

/// Asks one input. After an error or a panic the engine is thrown away: what state it is in is unknown.
pub(crate) struct Evaluator<'t> {
    template: &'t Engine,
    input: Value,
    time: Time,
    engine: Option<Engine>,
    /// Lines that were reached in engines since thrown away.
    reached: Option<BTreeMap<String, BTreeSet<u32>>>,
}

/// What an evaluation ended with instead of a value: one line, the same every time.
pub(crate) type Trouble = String;

impl Evaluator<'_> {
    /// The value of a rule of our own; `Value::Undefined` if it has none.
    pub(crate) fn ask(&mut self, rule: &str) -> Result<Value, Trouble> {
        let mut engine = match self.engine.take() {
            Some(engine) => engine,
            None => self.fresh()?,
        };
        let path = format!("data.{rule}");
        let result = catch_unwind(AssertUnwindSafe(|| engine.eval_rule(path)));
        match result {
            Ok(Ok(value)) => {
                self.engine = Some(engine);
                Ok(value)
            }
            Ok(Err(e)) => {
                self.note_coverage(&engine);
                Err(trouble(&e))
            }
            Err(_) => Err("the engine failed (a panic inside a built-in function)".to_owned()),
        }
    }

    /// What `print` said since the last call, as `file:line: text`.
    pub(crate) fn prints(&mut self) -> Vec<String> {
        self.engine.as_mut().and_then(|e| e.take_prints().ok()).unwrap_or_default()
    }

    /// From now on, keep which lines are reached. The template's engine must do so too.
    pub(crate) fn gather_coverage(&mut self) {
        self.reached = Some(BTreeMap::new());
    }

    /// The lines reached, by file.
    pub(crate) fn coverage(&mut self) -> BTreeMap<String, BTreeSet<u32>> {
        if let Some(engine) = self.engine.take() {
            self.note_coverage(&engine);
        }
        self.reached.take().unwrap_or_default()
    }

    fn note_coverage(&mut self, engine: &Engine) {
        let Some(reached) = &mut self.reached else { return };
        for file in engine.get_coverage_report().map(|r| r.files).unwrap_or_default() {
            reached.entry(file.path).or_default().extend(file.covered);
        }
    }

    fn fresh(&self) -> Result<Engine, Trouble> {
        let mut engine = self.template.clone();
        let now = Value::from(self.time.unix_nanos());
        engine
            .add_extension("time.now_ns".to_owned(), 0, Box::new(move |_: Vec<Value>| Ok(now.clone())))
            .map_err(|e| format!("the clock cannot be set: {e}"))?;
        engine.set_input(self.input.clone());
        Ok(engine)
    }
}

/// An error as one line without times and columns: rewriting moves columns, and verdicts must not
/// depend on how long something took.
fn trouble(e: &anyhow::Error) -> Trouble {
    let text = format!("{e}");
    let timed_out = matches!(e.downcast_ref(), Some(LimitError::TimeLimitExceeded { .. }));
    if timed_out || text.contains("execution exceeded time limit") {
        return format!("took longer than {} s", TIME_LIMIT.as_secs());
    }
    let e = EngineError::read(&text);
    match e.path {
        Some(path) if path != OWN_PACKAGE => format!("{path}:{}: {}", e.line, e.message),
        _ => e.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_that_rules_trouble_only() {
        let mut engine = blank().unwrap();
        let panics = |_: Vec<Value>| -> anyhow::Result<Value> { panic!("inside a built-in") };
        engine.add_extension("boom".to_owned(), 1, Box::new(panics)).unwrap();
        let text = "package a\n\nx := boom(input.n)\n\ny := input.n\n";
        engine.add_policy("a.rego".to_owned(), text.to_owned()).unwrap();
        let template = Template { engine, plans: vec![] };
        let input = Value::from_json_str("{\"n\": 7}").unwrap();
        let mut evaluator = template.evaluator(&input, Time::from_unix_micros(0).unwrap());
        assert_eq!(evaluator.ask("a.y"), Ok(Value::from(7u64)));
        assert!(evaluator.ask("a.x").unwrap_err().contains("panic"));
        assert_eq!(evaluator.ask("a.y"), Ok(Value::from(7u64)));
    }

    #[test]
    fn troubles_are_the_same_every_time() {
        let timed_out = LimitError::TimeLimitExceeded { elapsed: Duration::from_secs(6), limit: TIME_LIMIT };
        assert_eq!(trouble(&anyhow::Error::new(timed_out)), "took longer than 5 s");
        let inside = anyhow::anyhow!("\n--> a.rego:3:7\n  |\n3 | x\n  |   ^\nerror: {timed_out}");
        assert_eq!(trouble(&inside), "took longer than 5 s");
        let other = anyhow::anyhow!("\n--> a.rego:3:7\n  |\n3 | x\n  |   ^\nerror: no\nmore below");
        assert_eq!(trouble(&other), "a.rego:3: no");
    }
}
