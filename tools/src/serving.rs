//! `serve`: from what was asked to a server that runs.

use erstwhile::commands::ServeJob;
use erstwhile::fail::Failure;
use erstwhile_server::config::Config;
use erstwhile_server::serve::{Ready, check, run};
use std::io::Write;
use tracing_subscriber::EnvFilter;

fn config(job: &ServeJob) -> Result<Config, Failure> {
    let mut config = match &job.config {
        None => Config::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            Config::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?
        }
    };
    if let Some(store) = &job.store {
        config.store = store.clone();
    }
    if !job.listen.is_empty() {
        config.listen = job.listen.clone();
    }
    config.http = job.http.or(config.http);
    config.check().map_err(Failure::Usage)?;
    Ok(config)
}

/// Does what was asked.
pub(crate) fn serve(job: &ServeJob, to: &mut dyn Write) -> Result<(), Failure> {
    if job.print_config {
        to.write_all(Config::commented().as_bytes())?;
        return Ok(());
    }
    let config = config(job)?;
    let filter = EnvFilter::try_new(&config.log.filter)
        .map_err(|error| Failure::Usage(format!("log.filter = {:?}: {error}", config.log.filter)))?;
    if job.check_config {
        check(&config).map_err(Failure::Failed)?;
        writeln!(to, "the configuration makes sense")?;
        return Ok(());
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if config.log.json {
        log.json().init();
    } else {
        log.with_ansi(false).init();
    }
    run(config, |ready| {
        // A server that nobody listens to serves all the same.
        let _ = tell(ready, to);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    })
    .map_err(Failure::Failed)
}

/// Says where the server is, and shows tokens that were made, which is the only time that they are shown.
fn tell(ready: &Ready, to: &mut dyn Write) -> std::io::Result<()> {
    for (name, token, file) in &ready.made {
        writeln!(to, "token {name}: {token} (kept in {})", file.display())?;
    }
    if let Some(certificate) = &ready.certificate {
        writeln!(to, "certificate to trust: {}", certificate.display())?;
    }
    for (address, tls) in &ready.listening {
        writeln!(to, "listening on {address}{}", if *tls { " with TLS" } else { "" })?;
    }
    if let Some(http) = ready.http {
        writeln!(to, "metrics on http://{http}/metrics")?;
    }
    to.flush()
}
