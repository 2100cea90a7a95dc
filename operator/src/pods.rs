//! What the pods of a workload say about themselves: why a container does not start,
//! how often it was restarted. Pure.
//!
//! Never repeats what a container printed: it may hold a secret.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use vmcp_crds::condition::clip;
use vmcp_crds::reason::Reason;

/// Longest text of the kubelet that is repeated, in characters.
const MAX_TEXT: usize = 256;

/// Why a container does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartProblem {
    pub reason: Reason,
    pub message: String,
}

/// The first problem in order of pod names; `None` where every container runs or may.
#[must_use]
pub fn start_problem<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<StartProblem> {
    let mut pods: Vec<&Pod> = pods.into_iter().filter(|pod| is_living(pod)).collect();
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    pods.into_iter().find_map(problem_of)
}

/// Restarts of all containers of the pods that exist.
#[must_use]
pub fn restarts<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> i32 {
    pods.into_iter()
        .flat_map(containers)
        .map(|container| container.restart_count)
        .fold(0, i32::saturating_add)
}

fn is_living(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let main = status.and_then(|status| status.container_statuses.as_ref());
    init.into_iter().chain(main).flatten()
}

fn problem_of(pod: &Pod) -> Option<StartProblem> {
    containers(pod)
        .find_map(waiting_problem)
        .or_else(|| unschedulable(pod))
}

fn waiting_problem(container: &ContainerStatus) -> Option<StartProblem> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let word = waiting.reason.as_deref()?;
    let said = || clip(waiting.message.as_deref().unwrap_or(word), MAX_TEXT);
    let problem = |reason, message| Some(StartProblem { reason, message });
    match word {
        "CreateContainerConfigError" => problem(
            Reason::ContainerCannotStart,
            format!("the container cannot be created: {}", said()),
        ),
        "CreateContainerError" | "RunContainerError" => problem(
            Reason::ContainerCannotStart,
            format!("the container cannot be started: {}", said()),
        ),
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => problem(
            Reason::ImagePullFailed,
            format!("the image {} cannot be pulled: {}", container.image, said()),
        ),
        "CrashLoopBackOff" => problem(Reason::CrashLoop, crash(container)),
        _ => None,
    }
}

fn crash(container: &ContainerStatus) -> String {
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let how = last.map_or_else(String::new, |end| {
        format!(" with exit code {}", end.exit_code)
    });
    format!(
        "container {} ended{how} and was restarted {} times; its log says why",
        container.name, container.restart_count
    )
}

fn unschedulable(pod: &Pod) -> Option<StartProblem> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let refused = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    let why = refused.message.as_deref().unwrap_or("no node fits");
    Some(StartProblem {
        reason: Reason::Unschedulable,
        message: format!("no node takes the pod: {}", clip(why, MAX_TEXT)),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};
    use vmcp_crds::reason::Reason;

    use super::{restarts, start_problem};

    fn pod(name: &str, status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"containerStatuses": [{
            "name": "server", "image": "img:1", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": reason, "message": message}},
            "lastState": {"terminated": {"exitCode": 3, "message": "token=abc"}},
        }]})
    }

    /// API, truth table: "container cannot start" has the reason and what the kubelet says.
    #[test]
    fn each_way_not_to_start_has_its_reason() {
        let cases = [
            ("CreateContainerConfigError", Reason::ContainerCannotStart),
            ("RunContainerError", Reason::ContainerCannotStart),
            ("ImagePullBackOff", Reason::ImagePullFailed),
            ("CrashLoopBackOff", Reason::CrashLoop),
        ];
        for (word, reason) in cases {
            let found = start_problem([&pod("a", waiting(word, "secret \"x\" not found"))]);
            assert_eq!(found.unwrap().reason, reason);
        }
        let starting = pod("a", waiting("ContainerCreating", ""));
        assert_eq!(start_problem([&starting]), None);
    }

    /// R3.4: what a container printed is never published.
    #[test]
    fn the_output_of_a_crashed_container_is_not_repeated() {
        let found = start_problem([&pod("a", waiting("CrashLoopBackOff", "back-off"))]).unwrap();

        assert!(found.message.contains("exit code 3"), "{}", found.message);
        assert!(!found.message.contains("abc"));
    }

    /// API, truth table: a pod that no node takes has that reason.
    #[test]
    fn a_pod_that_no_node_takes_is_unschedulable() {
        let status = json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available"}]});

        let found = start_problem([&pod("a", status)]).unwrap();

        assert_eq!(found.reason, Reason::Unschedulable);
        assert_eq!(
            restarts([&pod("a", waiting("X", "")), &pod("b", json!({}))]),
            4
        );
    }
}
