//! Places where a test stops the process: `AMARRE_FAILPOINT=backup.5` kills it there as `kill -9` would,
//! `backup.5:wait` makes it wait there until it is killed or told to stop, `backup.5:term` sends it a SIGTERM and goes on
//! once that was heard, `backup.5:panic` makes the program fail there with the password of the database on its lips. Release builds lack the feature `failpoints`, and with it every trace of this.

/// The token that a SIGTERM cancels.
#[cfg(feature = "failpoints")]
static TOLD: std::sync::OnceLock<tokio_util::sync::CancellationToken> = std::sync::OnceLock::new();

/// Which token a SIGTERM cancels.
#[cfg(not(feature = "failpoints"))]
pub fn watch(_told: &tokio_util::sync::CancellationToken) {}

/// Which token a SIGTERM cancels.
#[cfg(feature = "failpoints")]
pub fn watch(told: &tokio_util::sync::CancellationToken) {
    let _ = TOLD.set(told.clone());
}

/// A numbered step was reached.
#[cfg(not(feature = "failpoints"))]
pub async fn hit(_step: &str) {}

/// A numbered step was reached.
#[cfg(feature = "failpoints")]
pub async fn hit(step: &str) {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch, not a setting")]
    let Ok(wanted) = std::env::var("AMARRE_FAILPOINT") else { return };
    if wanted == step {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
    if wanted == format!("{step}:wait") {
        tracing::info!(step, "waiting at a failpoint");
        std::future::pending::<()>().await;
    }
    if wanted == format!("{step}:term") {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGTERM);
        if let Some(told) = TOLD.get() {
            told.cancelled().await;
        }
    }
    #[expect(clippy::disallowed_methods, reason = "what a panic must not tell")]
    if wanted == format!("{step}:panic") {
        std::panic::panic_any(format!("at {step} with {:?}", std::env::var("POSTGRES_PASSWORD")));
    }
    if let Some((at, path)) = wanted.split_once(":touch=")
        && at == step
    {
        let _ = std::fs::write(path, step);
        std::future::pending::<()>().await;
    }
}
