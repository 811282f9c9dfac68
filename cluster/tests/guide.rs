//! The guide and the example keep up with the code.

use cluster::spec;

const GUIDE: &str = include_str!("../../docs/cluster-file.md");
const EXAMPLE: &str = include_str!("../../examples/red.yaml");

/// The smallest file, key by key, for examples that show only a part.
const SMALLEST: [(&str, &str); 5] = [
    ("version", "version: 1\n"),
    ("cluster", "cluster: red\n"),
    ("image", "image: os.img\n"),
    ("nodes", "nodes: red[00-04]\n"),
    ("user", "user: {name: pi, authorized_keys: [~/.ssh/id_ed25519.pub]}\n"),
];

/// What stands between ```` ```yaml ```` and ```` ``` ````.
fn examples() -> Vec<String> {
    let blocks = GUIDE.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_key_is_in_the_guide() {
    for key in spec::keys() {
        assert!(GUIDE.contains(&format!("`{key}`")), "docs/cluster-file.md lacks `{key}`");
    }
}

#[test]
fn every_example_in_the_guide_is_read() {
    let examples = examples();
    assert!(examples.len() >= 10, "{} examples", examples.len());
    for example in examples {
        let mut text = example.clone();
        for (key, line) in SMALLEST {
            if !example.lines().any(|line| line.starts_with(&format!("{key}:"))) {
                text.push_str(line);
            }
        }
        if let Err(problems) = spec::read(&text, "guide") {
            panic!("{problems}\n\n{text}");
        }
    }
}

#[test]
fn the_message_in_the_guide_is_the_real_one() {
    let text = "version: 1\ncluster: red\nimage: os.img\nnodes: red00\nuser:\n  nmae: pi\n  authorized_keys: a.pub\n\nnetwork: {addresses: 192.168.1.0/24}\n";
    let problems = spec::read(text, "cluster.yaml").unwrap_err();
    assert!(GUIDE.contains(&format!("error: {problems}\n")), "{problems}");
}

#[test]
fn the_example_plans_five_nodes() {
    let cluster = spec::read(EXAMPLE, "examples/red.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    let nodes: Vec<String> =
        cluster.nodes.iter().map(|node| format!("{} {}", node.name, node.role.as_str())).collect();
    assert_eq!(nodes, ["red00 manager", "red01 worker", "red02 worker", "red03 worker", "red04 worker"]);
    assert_eq!(cluster.image.location, "pios-like.img.xz");
}
