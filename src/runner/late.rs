//! A runner that looks for its place when it is first used: a command that needs no database asks for no engine,
//! and each run of the supervisor finds the container anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::{Error, Input, Program, Runner, Running};

type Found = Pin<Box<dyn Future<Output = Result<Arc<dyn Runner>, Error>> + Send>>;

/// Finds its runner once, then is it.
pub struct Late {
    find: Box<dyn Fn() -> Found + Send + Sync>,
    found: OnceCell<Arc<dyn Runner>>,
}

impl Late {
    /// A runner that `find` will find. After a failure it is asked again.
    pub fn new<F, R>(find: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Arc<dyn Runner>, Error>> + Send + 'static,
    {
        Self { find: Box::new(move || Box::pin(find())), found: OnceCell::new() }
    }
}

#[async_trait]
impl Runner for Late {
    async fn start(&self, program: &Program, input: Input) -> Result<Running, Error> {
        self.found.get_or_try_init(|| (self.find)()).await?.start(program, input).await
    }
}
