//! `gatelog judge-process`: a process that only judges, and that may die of it.
//!
//! It reads frames on standard input and answers on standard output (`wire`), and ends when its
//! input does. Before it reads anything it puts limits on itself (`limits`); what it runs into then
//! ends this process and nothing else. `pool` starts it, watches the clock and says what it died of.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    sync::Arc,
};

use bytes::BytesMut;

use super::{Bundle, Input, bundle::Explainer, on_big_stack};
use wire::{Answer, Request, What};

pub(crate) mod limits;
pub(crate) mod wire;

/// Serves until standard input ends. The exit code interests nobody: the parent sees the pipe end.
#[must_use]
pub fn run() -> ExitCode {
    // Panics are caught and answered; what they print would only fill a pipe.
    std::panic::set_hook(Box::new(|_| {}));
    let contained = limits::contain();
    // Not the locks: their guards cannot go to another thread.
    let (mut input, mut output) = (io::stdin(), io::stdout());
    let served = on_big_stack(move || {
        send(&mut output, &Answer::Hello(contained))?;
        Server::default().serve(&mut input, &mut output)
    });
    match served {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// How many answers the parent of a judge process understands in these bytes before one that is nonsense or
/// cut off: policies are strangers' code, and one that has taken its process over writes what it likes.
#[must_use]
pub fn answers_in(bytes: &[u8]) -> usize {
    let mut buffer = BytesMut::from(bytes);
    std::iter::from_fn(|| wire::take_answer(&mut buffer).ok().flatten()).count()
}

#[derive(Default)]
struct Server {
    bundle: Option<Arc<Bundle>>,
}

impl Server {
    fn serve(&mut self, input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
        while let Some((kind, payload)) = wire::read(input)? {
            match Request::parse(kind, &payload) {
                Some(Request::Load(archive)) => send(output, &Answer::Loaded(self.load(archive)))?,
                Some(Request::Ask { what, from, to, input }) => self.ask(what, from..to, input, output)?,
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    fn load(&mut self, archive: &[u8]) -> Result<String, String> {
        limits::allow_cpu(limits::LOAD_CPU);
        // The old one first: both may not fit.
        self.bundle = None;
        let bundle = Bundle::from_archive_of_loaded(archive).map_err(|e| e.to_string())?;
        let digest = bundle.digest().to_owned();
        self.bundle = Some(Arc::new(bundle));
        Ok(digest)
    }

    /// One answer per control, each sent before the next control is begun: so the parent knows which
    /// one was at work when this process ends.
    fn ask(
        &self,
        what: What,
        controls: std::ops::Range<usize>,
        input: &[u8],
        output: &mut impl Write,
    ) -> io::Result<()> {
        limits::allow_cpu(limits::CPU);
        let Some(bundle) = &self.bundle else {
            return send(output, &Answer::Read(Err("no bundle is loaded".to_owned())));
        };
        let input = match Input::received(input) {
            Ok(input) => input,
            Err(e) => return send(output, &Answer::Read(Err(e.to_string()))),
        };
        send(output, &Answer::Read(Ok(())))?;
        let mut evaluator = bundle.evaluator(&input);
        let explainer = match what {
            // Its files have loaded once.
            What::Explain => Some(Explainer::new(bundle, &[]).map_err(|e| io::Error::other(e.to_string()))?),
            _ => None,
        };
        for i in controls {
            limits::allow_cpu(limits::CPU);
            let answer = match (what, &explainer) {
                (What::Needs, _) => Some(Answer::Needs(bundle.needs_of(i, &mut evaluator))),
                (What::Judge, _) => bundle.judged(i, &input, &mut evaluator).map(Answer::Judged),
                (What::Explain, explainer) => {
                    explainer.as_ref().map(|explainer| Answer::Explained(explainer.told(i, &input)))
                }
            };
            send(output, &answer.ok_or(io::ErrorKind::InvalidData)?)?;
        }
        drop(evaluator);
        drop(input);
        send(output, &Answer::Done)
    }
}

fn send(output: &mut impl Write, answer: &Answer) -> io::Result<()> {
    output.write_all(&answer.frame()?)?;
    output.flush()
}
