//! From an input to a verdict. Fails closed: what cannot be decided blocks, and says why.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use regorus::Value;

use super::{
    Bundle, ControlMeta, Input, REWRITER,
    engine::{ENGINE, Evaluator, OWN_PACKAGE},
    error::plain,
    metadata::Mode,
    on_big_stack, saying, waived,
};
use crate::{
    facts::FACTS,
    time::Time,
    verdict::{Control, Decision, Finding, FindingKind, Outcome, Verdict, decide},
};

/// A pending decision without `valid_until` is looked at again after this.
const PENDING_FOR: Duration = Duration::from_secs(5 * 60);
/// The earliest next look: a control that says "valid until now" must not make gatelog spin.
const SOONEST: Duration = Duration::from_secs(10);
/// Characters of one text in a finding.
const MAX_TEXT: usize = 2_000;
/// Findings kept of one control; the number of the others is said.
const MAX_FINDINGS: usize = 500;
/// Characters of a reason: GitHub cuts a check run's title at 255.
const MAX_REASON: usize = 240;

/// A fact that a control reads, beyond what every judgement has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Need {
    /// A name of [`FACTS`].
    pub fact: String,
    /// Which one: a team, an organisation. `None`: the whole fact.
    pub id: Option<String>,
}

impl Bundle {
    /// What must be fetched to judge this. A control whose `needs` cannot be evaluated needs nothing
    /// here: judging makes it `error`.
    #[must_use]
    pub fn needs(&self, input: &Input) -> BTreeSet<Need> {
        on_big_stack(|| self.needs_here(input)).unwrap_or_default()
    }

    /// Judges an input. CPU only, never panics; the same input and bundle give the same verdict.
    #[must_use]
    pub fn judge(&self, input: &Input) -> Verdict {
        on_big_stack(|| self.judge_here(input)).unwrap_or_else(|e| self.cannot_judge(input, &e))
    }

    /// [`Bundle::needs`] on a thread that has the stack for it.
    pub(crate) fn needs_here(&self, input: &Input) -> BTreeSet<Need> {
        let mut evaluator = self.evaluator(input);
        (0..self.controls().len()).flat_map(|i| self.needs_of(i, &mut evaluator)).collect()
    }

    /// [`Bundle::judge`] on a thread that has the stack for it.
    pub(crate) fn judge_here(&self, input: &Input) -> Verdict {
        let mut evaluator = self.evaluator(input);
        let judged = self
            .controls()
            .iter()
            .enumerate()
            .map(|(i, meta)| self.judge_control(i, meta, input, &mut evaluator));
        self.verdict(input, judged.collect())
    }

    /// Asks the controls, one after the other, about one input.
    pub(crate) fn evaluator(&self, input: &Input) -> Evaluator<'_> {
        self.template().evaluator(input.value(), input.time())
    }

    /// What one control needs; none if that cannot be evaluated.
    pub(crate) fn needs_of(&self, i: usize, evaluator: &mut Evaluator<'_>) -> BTreeSet<Need> {
        let Some(meta) = self.controls().get(i) else { return BTreeSet::new() };
        self.control_needs(i, meta, evaluator).unwrap_or_default()
    }

    /// What one control says. `None`: there is no such control.
    pub(crate) fn judged(&self, i: usize, input: &Input, evaluator: &mut Evaluator<'_>) -> Option<Judged> {
        Some(self.judge_control(i, self.controls().get(i)?, input, evaluator))
    }

    /// A control that could not answer.
    pub(crate) fn stopped(&self, i: usize, input: &Input, why: String) -> Option<Judged> {
        Some(Judged::error(self.controls().get(i)?, input.time(), why))
    }

    /// The verdict when judging itself is not possible: every control is `error`.
    pub(crate) fn cannot_judge(&self, input: &Input, why: &str) -> Verdict {
        let failed = |meta: &ControlMeta| Judged::error(meta, input.time(), why.to_owned());
        self.verdict(input, self.controls().iter().map(failed).collect())
    }

    /// Puts together what the controls said, in their order.
    pub(crate) fn verdict(&self, input: &Input, judged: Vec<Judged>) -> Verdict {
        let soonest = input.time().plus(SOONEST);
        let valid_until = judged.iter().filter_map(|j| j.valid_until).min();
        let mut controls: Vec<Control> = judged.into_iter().map(|j| j.control).collect();
        // After it the exception is another one, so it needs no rest from judging.
        let waived_until = waived::apply(self.waiving(), input, &mut controls);
        let decision = decide(&controls);
        let pending = (decision == Decision::Pending).then(|| input.time().plus(PENDING_FOR));
        Verdict {
            decision,
            reason: reason(decision, &controls),
            valid_until: [valid_until.map(|t| t.max(soonest)).or(pending), waived_until]
                .into_iter()
                .flatten()
                .min(),
            controls,
            bundle: self.digest().to_owned(),
            engine: ENGINE.to_owned(),
            rewriter: REWRITER,
            answers: input
                .answers()
                .iter()
                .map(|a| text(&format!("@{}: {} (entry {})", a.by, a.answer, a.entry)))
                .collect(),
        }
    }

    /// The control's `needs` if it has such a rule, else all of its `custom.facts`.
    fn control_needs(
        &self,
        i: usize,
        meta: &ControlMeta,
        evaluator: &mut Evaluator<'_>,
    ) -> Result<BTreeSet<Need>, String> {
        if !self.template().plan(i).is_some_and(|p| p.needs) {
            let all = |fact: &String| Need { fact: fact.clone(), id: None };
            return Ok(meta.facts.iter().flatten().map(all).collect());
        }
        let answer = evaluator.ask(&format!("{OWN_PACKAGE}.needs_{i}"))?;
        match single(&answer) {
            Some(Value::Set(items)) => items.iter().map(|item| need(item, meta)).collect(),
            _ => Err("`needs` is not a set".to_owned()),
        }
    }

    fn judge_control(
        &self,
        i: usize,
        meta: &ControlMeta,
        input: &Input,
        evaluator: &mut Evaluator<'_>,
    ) -> Judged {
        match self.try_control(i, meta, input, evaluator) {
            Ok(judged) => judged,
            Err(why) => Judged::error(meta, input.time(), why),
        }
    }

    fn try_control(
        &self,
        i: usize,
        meta: &ControlMeta,
        input: &Input,
        evaluator: &mut Evaluator<'_>,
    ) -> Result<Judged, String> {
        let needs = self.control_needs(i, meta, evaluator)?;
        if let Some(missing) = missing(meta, &needs, input) {
            let mut judged = Judged::error(meta, input.time(), missing);
            for finding in &mut judged.control.findings {
                finding.who = Some("whoever runs gatelog or maintains the policies".to_owned());
                finding.fix = Some("re-run this check; if it stays, the log of gatelog says why".to_owned());
            }
            return Ok(judged);
        }
        let plan = self.template().plan(i);
        if plan.is_some_and(|p| p.applies) && !applies(i, evaluator)? {
            let reason = if plan.is_some_and(|p| p.skip_reason) { skip_reason(i, evaluator)? } else { None };
            return Ok(Judged::skip(meta, input.time(), reason));
        }
        let says = evaluator.ask(&format!("{OWN_PACKAGE}.says_{i}"))?;
        said(meta, input.time(), &says)
    }
}

fn applies(i: usize, evaluator: &mut Evaluator<'_>) -> Result<bool, String> {
    match single(&evaluator.ask(&format!("{OWN_PACKAGE}.applies_{i}"))?) {
        Some(Value::Bool(applies)) => Ok(*applies),
        Some(_) => Err("`applies` is not a boolean".to_owned()),
        None => Err("`applies` is undefined".to_owned()),
    }
}

fn skip_reason(i: usize, evaluator: &mut Evaluator<'_>) -> Result<Option<String>, String> {
    match single(&evaluator.ask(&format!("{OWN_PACKAGE}.skip_reason_{i}"))?) {
        None => Ok(None),
        Some(Value::String(s)) => Ok(Some(text(s))),
        Some(_) => Err("`skip_reason` is not a string".to_owned()),
    }
}

/// The only element of an answer; none: undefined.
fn single(answer: &Value) -> Option<&Value> {
    match answer {
        Value::Array(a) => a.first(),
        _ => None,
    }
}

fn need(item: &Value, meta: &ControlMeta) -> Result<Need, String> {
    let Value::Object(fields) = item else {
        return Err("`needs` has an item that is not an object".to_owned());
    };
    let field = |name: &str| fields.get(&Value::from(name));
    let Some(Value::String(fact)) = field("fact") else {
        return Err("`needs` has an item without `fact`".to_owned());
    };
    let id = match field("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id.to_string()),
        Some(_) => return Err("`needs` has an `id` that is not a string".to_owned()),
    };
    let known = FACTS.iter().any(|(name, _)| *name == fact.as_ref());
    let declared = meta.facts.as_ref().is_none_or(|f| f.contains(fact.as_ref()));
    if !known || !declared {
        return Err(format!("`needs` names `{}`, which `custom.facts` does not", plain(fact)));
    }
    Ok(Need { fact: fact.to_string(), id })
}

/// The first fact of a control's own that could not be had. Without the pull request nothing about
/// it can be decided; a control that does not say what it reads may read anything.
fn missing(meta: &ControlMeta, needs: &BTreeSet<Need>, input: &Input) -> Option<String> {
    let silent = meta.facts.is_none() && needs.is_empty();
    let concerns = |m: &&crate::facts::Missing| {
        let asked = |n: &Need| n.fact == m.fact && (n.id.is_none() || m.id.is_none() || n.id == m.id);
        silent || m.fact == "pull_request" || needs.iter().any(asked)
    };
    let m = input.missing().iter().find(concerns)?;
    let which = m.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
    Some(text(&format!("{}{which} could not be read: {}", m.fact, m.reason)))
}

/// What became of one control, and until when that holds.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Judged {
    pub(crate) control: Control,
    valid_until: Option<Time>,
}

impl Judged {
    fn new(meta: &ControlMeta, time: Time, outcome: Outcome, findings: Vec<Finding>) -> Self {
        let to_come = meta.effective_on.filter(|t| *t > time);
        let control = Control {
            id: meta.id.clone(),
            package: meta.package.clone(),
            title: meta.title.clone(),
            severity: meta.severity.clone(),
            outcome,
            evaluate_only: meta.mode == Mode::Evaluate || to_come.is_some(),
            findings,
            skip_reason: None,
            waived_by: vec![],
        };
        Self { control, valid_until: to_come.filter(|_| meta.mode == Mode::Enforce) }
    }

    fn error(meta: &ControlMeta, time: Time, why: String) -> Self {
        Self::new(meta, time, Outcome::Error, vec![finding(FindingKind::Error, text(&why))])
    }

    fn skip(meta: &ControlMeta, time: Time, reason: Option<String>) -> Self {
        let mut judged = Self::new(meta, time, Outcome::Skip, vec![]);
        judged.control.skip_reason = reason;
        judged
    }
}

/// Reads what a control said: sets of findings, or `allow` with `violations`.
fn said(meta: &ControlMeta, time: Time, says: &Value) -> Result<Judged, String> {
    let Value::Object(says) = says else { return Err("the control said nothing".to_owned()) };
    let answer = |name: &str| says.get(&Value::from(name));
    let mut sets = BTreeMap::new();
    for (name, answer) in says.iter() {
        let Value::String(name) = name else { continue };
        let Some(kind) = saying::kind_of(name) else { continue };
        match single(answer) {
            Some(Value::Set(items)) => {
                let found: BTreeSet<Finding> = items.iter().map(|item| read_finding(kind, item)).collect();
                sets.insert(name.as_ref(), found);
            }
            Some(_) => return Err(format!("`{}` is not a set", plain(name))),
            None => return Err(format!("`{}` is undefined", plain(name))),
        }
    }
    let excepted = match answer("exception").map(single) {
        None => BTreeSet::new(),
        Some(Some(exception)) => saying::exceptions(exception)?,
        Some(None) => return Err("`exception` is undefined".to_owned()),
    };
    let mut findings = saying::except(sets, &excepted);
    if let Some(allow) = answer("allow") {
        findings.extend(violations(meta, single(allow), answer("violations").map(single))?);
    }
    let mut judged = Judged::new(meta, time, outcome(&findings), capped(findings));
    if let Some(until) = answer("valid_until").and_then(single) {
        let until = match until {
            Value::String(s) => s.parse::<Time>().map_err(|e| format!("`valid_until`: {e}"))?,
            _ => return Err("`valid_until` is not a string".to_owned()),
        };
        judged.valid_until = Some(judged.valid_until.map_or(until, |t| t.min(until)));
    }
    Ok(judged)
}

/// `allow` that is not true denies, with the `violations` or without.
fn violations(
    meta: &ControlMeta,
    allow: Option<&Value>,
    violations: Option<Option<&Value>>,
) -> Result<Vec<Finding>, String> {
    match allow {
        Some(Value::Bool(true)) => Ok(vec![]),
        Some(Value::Bool(false)) => match violations {
            None => Ok(vec![finding(FindingKind::Deny, format!("not allowed: {}", meta.title))]),
            Some(Some(Value::Set(items))) if items.is_empty() => {
                Ok(vec![finding(FindingKind::Deny, format!("not allowed: {}", meta.title))])
            }
            Some(Some(Value::Set(items))) => {
                Ok(items.iter().map(|item| read_finding(FindingKind::Deny, item)).collect())
            }
            Some(Some(_)) => Err("`violations` is not a set".to_owned()),
            Some(None) => Err("`violations` is undefined".to_owned()),
        },
        Some(_) => Err("`allow` is not a boolean".to_owned()),
        None => Err("`allow` is undefined".to_owned()),
    }
}

fn outcome(findings: &BTreeSet<Finding>) -> Outcome {
    // In the order of `FindingKind`: the first finding is of the worst kind.
    match findings.first().map(|f| f.kind) {
        Some(FindingKind::Deny) => Outcome::Deny,
        Some(FindingKind::Error) => Outcome::Error,
        Some(FindingKind::Pending) => Outcome::Pending,
        Some(FindingKind::Warn) => Outcome::Warn,
        Some(FindingKind::Excepted) | None => Outcome::Pass,
    }
}

fn capped(findings: BTreeSet<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    let mut out: Vec<Finding> = findings.into_iter().take(MAX_FINDINGS).collect();
    if let (1.., Some(last)) = (more, out.last().map(|f| f.kind)) {
        out.push(finding(last, format!("… and {more} more")));
    }
    out
}

fn finding(kind: FindingKind, msg: String) -> Finding {
    Finding { kind, msg, path: None, line: None, commit: None, who: None, fix: None }
}

/// A string, or an object with `msg`. Anything else counts too, as its JSON: a denial is a denial.
fn read_finding(kind: FindingKind, item: &Value) -> Finding {
    let json = || text(&item.to_json_str().ok().and_then(|s| compact(&s)).unwrap_or_else(|| "?".to_owned()));
    let fields = match item {
        Value::String(s) => return finding(kind, text(s)),
        Value::Object(fields) => fields,
        _ => return finding(kind, json()),
    };
    let field = |name: &str| match fields.get(&Value::from(name)) {
        Some(Value::String(s)) => Some(text(s)),
        _ => None,
    };
    Finding {
        kind,
        msg: field("msg").unwrap_or_else(json),
        path: field("path"),
        line: fields.get(&Value::from("line")).and_then(|v| v.as_u64().ok()),
        commit: field("commit"),
        who: field("who"),
        fix: field("fix"),
    }
}

fn compact(json: &str) -> Option<String> {
    serde_json::from_str::<serde_json::Value>(json).ok().map(|v| v.to_string())
}

fn text(s: &str) -> String {
    cut(s, MAX_TEXT)
}

fn cut(s: &str, max: usize) -> String {
    if s.chars().nth(max).is_none() {
        return s.to_owned();
    }
    s.chars().take(max - 1).chain(['…']).collect()
}

/// One line that says why.
fn reason(decision: Decision, controls: &[Control]) -> String {
    let (label, kind, outcome) = match decision {
        Decision::Allow | Decision::Superseded => return allowed(controls),
        Decision::Deny => ("Blocked", FindingKind::Deny, Outcome::Deny),
        Decision::Error => ("Cannot decide", FindingKind::Error, Outcome::Error),
        Decision::Pending => ("Waiting", FindingKind::Pending, Outcome::Pending),
    };
    let mut found = controls
        .iter()
        .filter(|c| !c.evaluate_only && c.outcome == outcome)
        .flat_map(|c| c.findings.iter().filter(|f| f.kind == kind));
    let first = found.next().map(|f| plain(&f.msg)).unwrap_or_default();
    match found.count() {
        0 => cut(&format!("{label}: {first}"), MAX_REASON),
        more => {
            let more = format!(" (+{more} more)");
            cut(&format!("{label}: {first}"), MAX_REASON - more.len()) + &more
        }
    }
}

fn allowed(controls: &[Control]) -> String {
    let applied = controls.iter().filter(|c| c.outcome != Outcome::Skip);
    let waived = applied.clone().filter(|c| !c.evaluate_only && c.outcome == Outcome::Waived).count();
    let enforced = applied.clone().filter(|c| !c.evaluate_only).count();
    match (enforced, applied.count()) {
        (n, _) if waived > 0 => format!("Allowed by {} of {n} controls, {waived} waived", n - waived),
        (0, 0) => "Allowed: no control applies".to_owned(),
        (0, _) => "Allowed: no control is enforced".to_owned(),
        (1, _) => "Allowed by 1 control".to_owned(),
        (n, _) => format!("Allowed by {n} controls"),
    }
}
