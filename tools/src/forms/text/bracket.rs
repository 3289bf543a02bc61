//! What the looks around T saw of a row, in words.

use super::View;
use erstwhile_engine::fact::Second;
use erstwhile_engine::read::answer::{Held, Verdict};

/// `seen 09:58:02 and again 10:03:02`, `last seen 09:58:02, gone by 10:03:02`, …
pub(crate) fn words(held: &Held, at: Second, view: &View<'_>) -> String {
    let near = |second: Second| view.zone.near(second, at);
    let only_after = held.version.from > at;
    match (held.verdict, held.before, held.after) {
        (_, None, Some(after)) => format!("no look before, first seen {}", near(after)),
        (_, None, None) => "no look at all".to_owned(),
        (Verdict::Definite, Some(before), _) if before == at => format!("seen {}", near(before)),
        (Verdict::Definite, Some(before), Some(after)) => {
            format!("seen {} and again {}", near(before), near(after))
        }
        (Verdict::Definite, Some(before), None) => format!("seen {}", near(before)),
        (Verdict::Presumed, Some(before), _) => {
            format!("last seen {}, no look since", near(before))
        }
        (Verdict::Possible | Verdict::Unknown, Some(before), Some(after)) if only_after => {
            format!("not there {}, first seen {}", near(before), near(after))
        }
        (Verdict::Possible, Some(before), Some(after)) => {
            format!("last seen {}, gone by {}", near(before), near(after))
        }
        (Verdict::Possible, Some(before), None) => format!("last seen {}", near(before)),
        (Verdict::Unknown, Some(before), after) => {
            let next = match after {
                Some(after) => format!("next look {}", near(after)),
                None => "no look since".to_owned(),
            };
            if held.version.verified {
                format!("last seen {}, then a break; {next}", near(before))
            } else {
                format!("not vouched for at the last look {}; {next}", near(before))
            }
        }
    }
}
