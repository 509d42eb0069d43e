//! Files of a bundle, each read on its own: admitted and parsed, or what is wrong with it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use regorus::unstable::{Module, Ref};

use super::{admission, ast, data, error::LoadError, pool::STACK};

/// What stands in a file.
pub(crate) enum Content {
    Policy(Ref<Module>),
    Data(serde_json::Value),
}

/// In the order of the paths.
pub(crate) type Contents = Vec<Result<Content, LoadError>>;

pub(crate) fn one_by_one(files: &BTreeMap<String, String>) -> Contents {
    files.iter().map(|(path, text)| read(path, text)).collect()
}

/// The same on all cores. Not for judge processes: their memory and time are counted.
pub(crate) fn in_parallel(files: &BTreeMap<String, String>) -> Contents {
    let texts: Vec<(&String, &String)> = files.iter().collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let work = || {
        let mut own = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, text)) = texts.get(number) else { break };
            own.push((number, read(path, text)));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
    };
    let cores = thread::available_parallelism().map_or(1, usize::from).min(texts.len());
    // Where no thread can be started, this one does it all. A panic of one is a panic of this.
    thread::scope(|scope| {
        for _ in 1..cores {
            let _ = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        }
        work();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn read(path: &str, text: &str) -> Result<Content, LoadError> {
    if !path.ends_with(".rego") {
        return data::parse(path, text).map(Content::Data);
    }
    admission::admit(path, text)?;
    let module = ast::parse(path, text)?;
    admission::admit_module(&module)?;
    Ok(Content::Policy(module))
}
