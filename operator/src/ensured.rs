//! What became of an object that we want, and what it means for the status. Pure; the
//! writer answers with it, the status steps read it.

use std::time::Duration;

use vmcp_crds::condition::clip;
use vmcp_crds::reason::Reason;

use crate::limits::{LEAVING_DELAY, REFUSED_DELAY, STRANGER_DELAY};

/// Longest text of the API server that is repeated, in characters.
const MAX_TEXT: usize = 512;

/// What became of an object that we want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// Its spec stands there as wanted, perhaps with other labels than before.
    Unchanged,
    Created,
    /// Its spec is another one than before.
    Updated,
    /// A stranger has that name.
    Stranger,
    /// A predecessor's object has that name, or ours is being deleted.
    Leaving,
    /// The API server refuses it: schema, policy, quota or our rights.
    Refused {
        code: u16,
        message: String,
    },
}

/// Why not everything that we want stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    pub reason: Reason,
    /// What is wrong and what would fix it.
    pub message: String,
    pub kind: HindranceKind,
    /// When to look again: no event tells.
    pub look_again: Duration,
}

/// Whether somebody must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HindranceKind {
    /// It passes by itself.
    Passing,
    /// Somebody must change something.
    Lasting,
}

impl Hindrance {
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.kind == HindranceKind::Lasting
    }

    /// What stands in the way of the object `kind/name`; `None` where nothing does.
    #[must_use]
    pub fn of(kind: &str, name: &str, ensured: &Ensured) -> Option<Self> {
        match ensured {
            Ensured::Unchanged | Ensured::Created | Ensured::Updated => None,
            Ensured::Stranger => Some(Self {
                reason: Reason::NameConflict,
                message: format!(
                    "{kind} \"{name}\" exists and is not ours; rename or delete it, or rename \
                     this object"
                ),
                kind: HindranceKind::Lasting,
                look_again: STRANGER_DELAY,
            }),
            Ensured::Leaving => Some(Self {
                reason: Reason::WaitingForDeletion,
                message: format!("waiting until the earlier {kind} \"{name}\" is deleted"),
                kind: HindranceKind::Passing,
                look_again: LEAVING_DELAY,
            }),
            Ensured::Refused { code, message } => Some(Self {
                reason: refusal(*code),
                message: format!(
                    "the API server refuses {kind} \"{name}\": {}",
                    clip(message, MAX_TEXT)
                ),
                kind: HindranceKind::Lasting,
                look_again: REFUSED_DELAY,
            }),
        }
    }
}

/// 403 is a policy, a quota or our own rights; everything else is the object itself.
const fn refusal(code: u16) -> Reason {
    match code {
        403 => Reason::AdmissionDenied,
        _ => Reason::InvalidSpec,
    }
}

#[cfg(test)]
mod tests {
    use vmcp_crds::reason::Reason;

    use super::{Ensured, Hindrance};

    /// Build 4: a stranger's object stalls, a predecessor's only delays.
    #[test]
    fn each_hindrance_names_the_object_and_says_whether_somebody_must_act() {
        let of = |ensured| Hindrance::of("Service", "mcp-a", &ensured);
        let refused = |code| Ensured::Refused {
            code,
            message: "exceeded quota".to_owned(),
        };

        assert_eq!(of(Ensured::Updated), None);
        let stranger = of(Ensured::Stranger).unwrap();
        assert_eq!(stranger.reason, Reason::NameConflict);
        assert!(stranger.is_lasting());
        assert!(stranger.message.contains("Service \"mcp-a\""));
        assert!(!of(Ensured::Leaving).unwrap().is_lasting());
        assert_eq!(of(refused(403)).unwrap().reason, Reason::AdmissionDenied);
        assert_eq!(of(refused(422)).unwrap().reason, Reason::InvalidSpec);
    }
}
