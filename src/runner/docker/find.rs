//! Which container is the database's: by name, or by Compose's labels. Never a guess: zero or several that
//! fit are refused, with the list.
//!
//! Choosing is a pure function over a list; asking the engine for the list is thin.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use rust_i18n::t;

use super::connect::Engine;
use super::error::EngineError;
use crate::runner::quote;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const FILES: &str = "com.docker.compose.project.config_files";
const DIRECTORY: &str = "com.docker.compose.project.working_dir";

/// More names than this help nobody.
const LISTED: usize = 20;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A name, a full id, or the first 12 or more digits of an id.
    Container(String),
    /// A service of a Compose project.
    Service {
        /// As in the Compose file.
        service: String,
        /// `None`: the project of the container that this process runs in.
        project: Option<Project>,
    },
}

/// A Compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Project {
    /// By its name.
    Name(String),
    /// By one of its files.
    File(PathBuf),
}

/// The container that was found, pinned by its full id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Full id: a container recreated under the same name is another one.
    pub id: String,
    /// Name without the slash.
    pub name: String,
    /// Image as named at its creation.
    pub image: String,
    /// `running`, `paused`, `exited`, …
    pub state: String,
    /// `healthy`, `unhealthy`, `starting`, where the image has a health check.
    pub health: Option<String>,
    /// Compose project.
    pub project: Option<String>,
    /// Compose service.
    pub service: Option<String>,
    /// Directories (and files) of the host that it sees.
    pub mounts: Vec<Mount>,
}

/// A volume or a directory of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it lies on the engine's host.
    pub source: PathBuf,
    /// Where the container sees it.
    pub destination: PathBuf,
}

impl Container {
    /// Whether programs can be run in it now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// The first 12 digits of the id, as people know it.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// A container as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    /// Full id.
    pub id: String,
    /// Name without the slash.
    pub name: String,
    /// `running`, `exited`, …
    pub state: String,
    /// Labels.
    pub labels: HashMap<String, String>,
}

impl Candidate {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `docker compose run` makes one-off containers with the labels of the service.
    fn is_service(&self, service: &str) -> bool {
        let one_off = self.label(ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        !one_off && self.label(SERVICE) == Some(service)
    }

    fn has_file(&self, file: &Path, canonical: &dyn Fn(&Path) -> PathBuf) -> bool {
        let directory = Path::new(self.label(DIRECTORY).unwrap_or("/"));
        let files = self.label(FILES).unwrap_or_default();
        files.split(',').chain([files]).any(|name| !name.is_empty() && canonical(&directory.join(name)) == file)
    }

    fn is_named(&self, wanted: &str) -> bool {
        self.name == wanted.trim_start_matches('/')
    }

    fn has_id(&self, wanted: &str) -> bool {
        wanted.len() >= 12 && self.id.starts_with(wanted)
    }
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_dash = |label| quote(self.label(label).unwrap_or("-"));
        let text = t!(
            "runner.engine.candidate",
            name = quote(&self.name),
            project = or_dash(PROJECT),
            service = or_dash(SERVICE),
            state = quote(&self.state)
        );
        f.write_str(&text)
    }
}

/// What to look for, once the own project is known and paths are canonical.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Name or id.
    Container(String),
    /// Service of a named project.
    InProject {
        /// Service.
        service: String,
        /// Project.
        project: String,
    },
    /// Service of the project made of a file.
    OfFile {
        /// Service.
        service: String,
        /// Canonical path.
        file: PathBuf,
    },
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Container(name) => t!("runner.engine.wanted_container", name = quote(name)),
            Self::InProject { service, project } => {
                t!("runner.engine.wanted_in_project", service = quote(service), project = quote(project))
            }
            Self::OfFile { service, file } => {
                t!("runner.engine.wanted_of_file", service = quote(service), file = quote(&file.to_string_lossy()))
            }
        };
        f.write_str(&text)
    }
}

/// The one container of `list` that fits. `canonical` resolves a path as far as this machine can see it.
///
/// # Errors
/// [`EngineError::NoContainer`], [`EngineError::SeveralContainers`], each with the list.
pub fn choose<'a>(
    wanted: &Wanted,
    list: &'a [Candidate],
    canonical: &dyn Fn(&Path) -> PathBuf,
) -> Result<&'a Candidate, EngineError> {
    let fits = |candidate: &&Candidate| match wanted {
        Wanted::Container(name) => candidate.is_named(name) || candidate.has_id(name),
        Wanted::InProject { service, project } => {
            candidate.is_service(service) && candidate.label(PROJECT) == Some(project)
        }
        Wanted::OfFile { service, file } => candidate.is_service(service) && candidate.has_file(file, canonical),
    };
    let found: Vec<&Candidate> = list.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(EngineError::NoContainer { wanted: wanted.to_string(), there: listed(list.iter()) }),
        several => {
            Err(EngineError::SeveralContainers { wanted: wanted.to_string(), there: listed(several.iter().copied()) })
        }
    }
}

fn listed<'a>(list: impl Iterator<Item = &'a Candidate>) -> Vec<Candidate> {
    let mut there: Vec<Candidate> = list.cloned().collect();
    there.sort_by(|a, b| a.name.cmp(&b.name));
    there.truncate(LISTED);
    there
}

impl Engine {
    /// The container that `target` means.
    ///
    /// # Errors
    /// [`EngineError`]: none or several fit (both list what there is), or the engine fails.
    pub async fn find(&self, target: &Target) -> Result<Container, EngineError> {
        let wanted = self.resolve(target).await?;
        let list = self.list().await?;
        let id = choose(&wanted, &list, &canonical)?.id.clone();
        self.inspect(&id).await
    }

    /// The Compose project of the container that this process runs in; `None` outside of one.
    ///
    /// # Errors
    /// [`EngineError`] when the engine fails; a container it does not know is not ours.
    pub async fn own_project(&self) -> Result<Option<String>, EngineError> {
        Ok(self.own_container().await?.and_then(|container| container.project))
    }

    /// The container that this process runs in, when it is one of this engine's.
    ///
    /// # Errors
    /// As [`Engine::own_project`].
    pub async fn own_container(&self) -> Result<Option<Container>, EngineError> {
        for id in own_ids() {
            match self.inspect(&id).await {
                // A host name may happen to be some container's name: only an id counts.
                Ok(container) if container.id.starts_with(&id) => return Ok(Some(container)),
                Ok(_) | Err(EngineError::Gone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The container with this name or id, as it is now.
    ///
    /// # Errors
    /// [`EngineError::Gone`] or any failure of the engine.
    pub async fn inspect(&self, id: &str) -> Result<Container, EngineError> {
        let question = self.docker().inspect_container(id, None::<InspectContainerOptions>);
        let about = self.ask("GET /containers/{id}/json", question).await.map_err(|error| error.about(id))?;
        let state = about.state.unwrap_or_default();
        let config = about.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        let mounts = about.mounts.unwrap_or_default().into_iter();
        let health = state.health.and_then(|health| health.status).map(|status| status.to_string());
        Ok(Container {
            id: about.id.unwrap_or_default(),
            name: about.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            image: config.image.unwrap_or_default(),
            state: state.status.map(|status| status.to_string()).unwrap_or_default(),
            health: health.filter(|status| !status.is_empty() && status != "none"),
            project: labels.get(PROJECT).cloned(),
            service: labels.get(SERVICE).cloned(),
            mounts: mounts.filter_map(mount).collect(),
        })
    }

    async fn resolve(&self, target: &Target) -> Result<Wanted, EngineError> {
        Ok(match target {
            Target::Container(name) => Wanted::Container(name.clone()),
            Target::Service { service, project: Some(Project::Name(project)) } => {
                Wanted::InProject { service: service.clone(), project: project.clone() }
            }
            Target::Service { service, project: Some(Project::File(file)) } => {
                Wanted::OfFile { service: service.clone(), file: canonical(file) }
            }
            Target::Service { service, project: None } => {
                let project = self.own_project().await?;
                let project = project.ok_or_else(|| EngineError::NoProject { service: service.clone() })?;
                Wanted::InProject { service: service.clone(), project }
            }
        })
    }

    async fn list(&self) -> Result<Vec<Candidate>, EngineError> {
        let all = ListContainersOptionsBuilder::new().all(true).build();
        let list = self.ask("GET /containers/json", self.docker().list_containers(Some(all))).await?;
        let candidate = |summary: bollard::models::ContainerSummary| Candidate {
            id: summary.id.unwrap_or_default(),
            name: shortest_name(&summary.names.unwrap_or_default()),
            state: summary.state.map(|state| state.to_string()).unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
        };
        Ok(list.into_iter().map(candidate).collect())
    }
}

fn mount(point: bollard::models::MountPoint) -> Option<Mount> {
    let source = point.source.unwrap_or_default().into();
    point.destination.map(|destination| Mount { source, destination: destination.into() })
}

/// Legacy links add names like `/other/alias`; the own one has a single slash.
fn shortest_name(names: &[String]) -> String {
    let own = names.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
    own.unwrap_or_default().to_owned()
}

fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// What may be the id of the container around this process, surest first.
fn own_ids() -> Vec<String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mounts = read("/proc/self/mountinfo");
    let cgroup = read("/proc/self/cgroup");
    let hostname = read("/proc/sys/kernel/hostname");
    let mut ids: Vec<String> = Vec::new();
    for id in id_in_mounts(&mounts).into_iter().chain(id_in_cgroup(&cgroup)).chain(id_as_hostname(&hostname)) {
        if !ids.iter().any(|known| known.starts_with(&id)) {
            ids.push(id);
        }
    }
    ids
}

/// The engine mounts `/etc/hostname` from a directory named after the container. Only that mount point counts:
/// on the host, the mounts of all containers are in sight.
fn id_in_mounts(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        if !matches!(point, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        root.split('/').find(|part| is_full_id(part)).map(str::to_owned)
    })
}

fn id_in_cgroup(cgroup: &str) -> Option<String> {
    let part = |part: &str| part.trim_start_matches("docker-").trim_end_matches(".scope").to_owned();
    cgroup.lines().flat_map(|line| line.split(['/', ':'])).map(part).find(|part| is_full_id(part))
}

fn id_as_hostname(hostname: &str) -> Option<String> {
    let hostname = hostname.trim();
    (hostname.len() == 12 && is_hex(hostname)).then(|| hostname.to_owned())
}

fn is_full_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "6c605d0898b66dd9757a4f66f3123174a1b2c3d4e5f60718293a4b5c6d7e8f90";

    #[test]
    fn the_own_id_is_read_from_the_mounts_of_a_container() {
        let line = |root: &str, point: &str| format!("611 590 254:0 {root} {point} rw,relatime - ext4 /dev/vda rw\n");
        let inside = line("/", "/") + &line(&format!("/var/lib/docker/containers/{FULL}/hostname"), "/etc/hostname");
        assert_eq!(id_in_mounts(&inside).as_deref(), Some(FULL));
        let host = line("/", &format!("/var/lib/docker/containers/{FULL}/mounts/shm")) + &line("/", "/etc/hostname");
        assert_eq!(id_in_mounts(&host), None);
        assert_eq!(id_in_mounts("cut short"), None);
    }

    #[test]
    fn the_own_id_is_read_from_the_control_groups() {
        assert_eq!(id_in_cgroup(&format!("12:memory:/docker/{FULL}\n")).as_deref(), Some(FULL));
        let systemd = format!("0::/system.slice/docker-{FULL}.scope\n");
        assert_eq!(id_in_cgroup(&systemd).as_deref(), Some(FULL));
        assert_eq!(id_in_cgroup("0::/\n"), None);
    }

    #[test]
    fn a_host_name_counts_only_where_it_looks_like_an_id() {
        assert_eq!(id_as_hostname("6c605d0898b6\n").as_deref(), Some("6c605d0898b6"));
        assert_eq!(id_as_hostname("db\n"), None);
        assert_eq!(id_as_hostname("sidecar-host\n"), None);
    }

    #[test]
    fn names_made_by_links_are_not_the_own_name() {
        assert_eq!(shortest_name(&["/web/db".to_owned(), "/shop-db-1".to_owned()]), "shop-db-1");
        assert_eq!(shortest_name(&[]), "");
    }
}
