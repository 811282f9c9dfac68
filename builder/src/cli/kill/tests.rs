use cluster::card::DockerSource;

use super::*;
use crate::pki::RunningHost;

#[test]
fn whoever_was_purged_is_no_node_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostnames.yaml");
    std::fs::write(&file, "manager: 10.1.1.1\nworker:\n- 10.1.1.2\n").unwrap();
    let host = |(host, name, role): (&str, &str, Role)| RunningHost {
        host: host.to_owned(),
        name: Hostname::try_from(name).unwrap(),
        role,
        address: None,
        host_key: None,
    };
    let hosts = [("10.1.1.1", "red00", Role::Manager), ("10.1.1.2", "red01", Role::Worker)].map(host);
    let names = hosts.each_ref().map(|host| host.name.clone());
    let running = Running::new(Some("ada".to_owned()), DockerSource::Debian, hosts.into());
    let project = project::of_running(&file, &running);
    pki::open(&project).unwrap();
    pki::remember_running(&project, &running).unwrap();

    forget(&project, running.clone(), &names[..1]).unwrap();
    let left = pki::running(&project.secrets_folder()).unwrap().unwrap();
    assert_eq!((left.hosts.as_slice(), left.user.as_deref()), (&running.hosts[1..], Some("ada")));
    let known = std::fs::read_to_string(project.secrets_folder().join("ssh_config")).unwrap();
    assert!(known.contains("red01") && !known.contains("red00"), "{known}");
    forget(&project, left, &names[1..]).unwrap();
    let nobody = project::load(&file).unwrap_err();
    assert_eq!(nobody.kind(), Kind::Usage);
    assert!(nobody.render().contains("builder config"), "{}", nobody.render());
}
