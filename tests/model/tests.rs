//! Hand-computed cases, at least one for each rule.
