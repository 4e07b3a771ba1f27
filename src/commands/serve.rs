//! `kerntrail serve`: answers the queries of the `kerntrail run` that started this process, on its standard input.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use kerntrail_common::error::chain;
use kerntrail_lake::Lake;
use kerntrail_query_service::isolation::confine::{Confinement, confine};
use kerntrail_query_service::{isolation, server};

use crate::logging;
use crate::parts::queries::{TASK, Task};
use crate::parts::{self, metrics};

/// Runs until the other end of the socket is closed.
pub fn run() -> anyhow::Result<ExitCode> {
    let Some(task) = std::env::var_os(TASK) else { bail!("`kerntrail run` starts this command; it has no other use") };
    let task: Task = serde_json::from_slice(task.as_encoded_bytes()).context("cannot read the task")?;
    logging::start(&task.logging, true)?;
    // SAFETY: the name is a string that ends with a null; the kernel copies it. Otherwise it would be that of a link.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"kerntrail".as_ptr()) };
    ignore_signals();
    let capacity = task.capacity();
    let stacks = capacity.stack_bytes();
    match confine(task.memory.0, stacks, task.group.as_deref()) {
        Ok(Confinement::Group) => tracing::debug!("memory is bounded by a control group"),
        Ok(Confinement::Mapped(bytes)) => tracing::debug!("memory is bounded to {bytes} mapped bytes"),
        Err(error) => tracing::warn!(error = chain(&error), "the memory of queries is not bounded"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(serve(task, capacity));
    // Queries that go on would keep it from ending.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(task: Task, capacity: kerntrail_query_engine::Capacity) -> anyhow::Result<()> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let lake = Lake::open(&task.lake, &task.tenant).with_context(|| format!("cannot open the lake {}", task.lake))?;
    let recorder = metrics::start()?;
    let engine = parts::engine_over(Arc::new(lake), capacity)?;
    let overdue = engine.overdue();
    let routes = server::router(engine, &task.tenant, task.limits);
    let served = isolation::answer(socket, routes, move || recorder.render(), overdue).await;
    // The other end is closed when the program ends, however it does.
    served.or_else(|error| {
        tracing::debug!(error = chain(&error), "the program that started this process is gone");
        Ok(())
    })
}

/// A signal to the group of processes is for the program, which then ends this one once it has answered.
fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: no other thread runs yet, and no handler is replaced.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
