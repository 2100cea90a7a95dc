use super::*;

const GATEWAY: &str = "apiVersion: vmcp.dev/v1alpha1
kind: VirtualMCPServer
metadata: {name: all}
spec:
  backends: {selector: {}}
";

const SERVER: &str = "apiVersion: vmcp.dev/v1alpha1
kind: MCPServer
metadata:
  name: one
  namespace: ignored
spec:
  remote: {url: 'http://127.0.0.1:9/mcp', allowInsecure: true}
";

fn source(name: &str, text: &str) -> Source {
    Source {
        path: name.into(),
        text: text.to_owned(),
    }
}

fn load(loader: &mut Loader, text: &str) -> Result<Objects, LoadError> {
    loader.load(&[source("c.yaml", text)])
}

fn fault_of(text: &str) -> String {
    load(&mut Loader::new().unwrap(), text)
        .unwrap_err()
        .to_string()
}

fn with_server(spec: &str) -> String {
    format!(
        "{GATEWAY}---\napiVersion: vmcp.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: one}}\nspec:\n{spec}"
    )
}

#[test]
fn several_documents_make_one_configuration_and_the_namespace_is_ignored() {
    let objects = load(
        &mut Loader::new().unwrap(),
        &format!("{GATEWAY}---\n{SERVER}"),
    )
    .unwrap();

    assert_eq!(objects.servers.len(), 1);
    assert_eq!(objects.servers[0].metadata.namespace, None);
    assert_eq!(objects.gateway.metadata.generation, Some(1));
}

/// Build 8: each fault of a file names file, line and field.
#[test]
fn every_fault_names_file_line_and_field() {
    let cases = [
        (
            "  remote: {url: 'https://x/mcp', alowInsecure: true}\n",
            "c.yaml:11: spec.remote.alowInsecure: unknown field",
        ),
        (
            "  remote: {url: 'https://x'}\n  service: {name: s, port: 1}\n",
            "c.yaml:11: spec: set exactly one of workload, service, remote",
        ),
        ("  path: /mcp\n", "spec: set exactly one of"),
        (
            "  service:\n    name: s\n    port: 70000\n",
            "c.yaml:13: spec.service.port: 70000 is out of range: use 1 to 65535",
        ),
        (
            "  service: {name: s, port: http}\n",
            "c.yaml:11: spec.service.port: must be a whole number, not a string",
        ),
        (
            "  service: {name: s}\n",
            "c.yaml:11: spec.service.port: is required",
        ),
        (
            "  remote: {url: 'http://x'}\n",
            "c.yaml:11: spec.remote.url: url ",
        ),
        (
            "  remote: {url: 'ftp://x'}\n",
            "c.yaml:11: spec.remote.url: url must begin with https:// or http://",
        ),
        (
            "  remote: {url: 'https://x'}\n  transport: stdio\n",
            "c.yaml:12: spec.transport: \"stdio\" is not one of",
        ),
        (
            "  remote: {url: 'https://x'}\n  healthCheck: {periodSeconds: 0}\n",
            "c.yaml:12: spec.healthCheck.periodSeconds: 0 is out of range",
        ),
        (
            "  remote: {url: 'https://x'}\n  catalog: {policy: KeepFor}\n",
            "c.yaml:12: spec.catalog.keepForSeconds: policy KeepFor needs",
        ),
        (
            "  remote: {url: 'https://x'}\n  resourceUriPrefixes: [/srv]\n",
            "c.yaml:12: spec.resourceUriPrefixes[0]: \"/srv\" does not match",
        ),
        (
            "  remote: {url: 'https://x'}\n  tools:\n    overrides:\n      - name: a\n",
            "c.yaml:14: spec.tools.overrides[0]: set rename, description or annotations",
        ),
        (
            "  remote: {url: 'https://x'}\n  tools: {overrides: [{name: a, rename: 'b c'}]}\n",
            "c.yaml:12: spec.tools.overrides[0].rename: \"b c\" does not match",
        ),
        (
            "  remote: {url: 'https://x'}\n  tools: {overides: []}\n",
            "c.yaml:12: spec.tools.overides: unknown field",
        ),
    ];
    for (spec, expected) in cases {
        let found = fault_of(&with_server(spec));
        assert!(
            found.contains(expected),
            "{spec}\n  found: {found}\n  expected: {expected}"
        );
    }
}

#[test]
fn faults_outside_of_the_spec_are_found_too() {
    let cases = [
        ("a: [1\n", "c.yaml:"),
        ("a: 1\n", "c.yaml:1: no Kubernetes object"),
        (
            "apiVersion: vmcp.dev/v1\nkind: MCPServer\n",
            "apiVersion: \"vmcp.dev/v1\" is not vmcp.dev/v1alpha1",
        ),
        (
            "apiVersion: vmcp.dev/v1alpha1\nkind: McpServer\n",
            "kind: \"McpServer\" is not one of MCPServer",
        ),
        (
            "apiVersion: vmcp.dev/v1alpha1\nkind: MCPServer\nmetadata: {name: UPPER}\nspec: {remote: {url: 'https://x'}}\n",
            "c.yaml:3: metadata.name: \"UPPER\" does not match",
        ),
        (
            "apiVersion: vmcp.dev/v1alpha1\nkind: MCPServer\nmetadata: {name: a}\nspek: {}\n",
            "c.yaml:4: spek: unknown field",
        ),
        (SERVER, "no VirtualMCPServer in the given files"),
    ];
    for (text, expected) in cases {
        let found = fault_of(text);
        assert!(
            found.contains(expected),
            "{text}\n  found: {found}\n  expected: {expected}"
        );
    }
}

#[test]
fn two_gateways_are_a_fault_that_names_both() {
    let second = GATEWAY.replace("name: all", "name: other");

    let found = fault_of(&format!("{GATEWAY}---\n{second}"));

    assert!(
        found.contains("\"other\" here and \"all\" at c.yaml:1"),
        "{found}"
    );
}

#[test]
fn two_servers_of_one_name_are_a_fault_that_names_both_places() {
    let found = fault_of(&format!("{GATEWAY}---\n{SERVER}---\n{SERVER}"));

    assert!(found.contains("is defined at c.yaml:7 already"), "{found}");
}

#[test]
fn objects_of_other_apis_are_skipped() {
    let text = format!("{GATEWAY}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n");

    assert!(load(&mut Loader::new().unwrap(), &text).is_ok());
}

/// R2.8: a new object of an old name is another backend, an edited one is the same.
#[test]
fn a_server_keeps_its_uid_until_a_good_load_without_it() {
    let mut loader = Loader::new().unwrap();
    let both = format!("{GATEWAY}---\n{SERVER}");
    let uid = |objects: &Objects| objects.servers[0].metadata.uid.clone().unwrap();

    let first = uid(&load(&mut loader, &both).unwrap());
    let edited = uid(&load(&mut loader, &both.replace(":9/", ":10/")).unwrap());
    load(&mut loader, "a: [").unwrap_err();
    let after_bad = uid(&load(&mut loader, &both).unwrap());
    load(&mut loader, GATEWAY).unwrap();
    let recreated = uid(&load(&mut loader, &both).unwrap());

    assert_eq!(first, edited);
    assert_eq!(first, after_bad);
    assert_ne!(first, recreated);
}

#[test]
fn the_generation_of_the_gateway_grows_with_its_spec_only() {
    let mut loader = Loader::new().unwrap();
    let generation = |objects: Objects| objects.gateway.metadata.generation;

    assert_eq!(generation(load(&mut loader, GATEWAY).unwrap()), Some(1));
    assert_eq!(
        generation(load(&mut loader, &format!("{GATEWAY}---\n{SERVER}")).unwrap()),
        Some(1)
    );
    let edited = format!("{GATEWAY}  minReadyBackends: 0\n");
    assert_eq!(generation(load(&mut loader, &edited).unwrap()), Some(2));
}

#[test]
fn a_folder_means_its_yaml_and_json_files_and_nothing_hidden() {
    let dir = std::env::temp_dir().join(format!("vmcp-load-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    for name in ["a.yaml", "b.yml", "c.json", "d.txt", ".e.yaml"] {
        fs::write(dir.join(name), "x: 1\n").unwrap();
    }

    let sources = read(std::slice::from_ref(&dir)).unwrap();
    let missing = read(&[dir.join("absent")]).unwrap_err().to_string();
    fs::remove_dir_all(&dir).unwrap();

    let names: Vec<_> = sources
        .iter()
        .filter_map(|s| s.path.file_name()?.to_str())
        .collect();
    assert_eq!(names, ["a.yaml", "b.yml", "c.json"]);
    assert!(missing.contains("absent"), "{missing}");
}
