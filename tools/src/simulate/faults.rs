//! What goes wrong with a host: its clock, its agent's database, its schedule, its network.
//!
//! Invariants:
//! - A fault acts on the state in which reality has it; what the logs then show follows from the agent's own rules.
//! - Faults that hide each other from every consumer do not meet on one host, unless silent losses were asked for.

use super::options::Options;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The agent's database is gone: counters start at 0 in the same epoch.
    DatabaseLoss,
    /// A VM snapshot is taken.
    Save,
    /// The VM goes back to it, with everything on its disk.
    Restore,
    /// The server raises the epoch of the host.
    Epoch,
    /// The clock is set, mostly wrongly.
    Clock,
    /// The agent purges its own counters (before 5.19.0).
    Purge,
    /// The text of a query changes under its name.
    Sql,
    /// A query becomes a snapshot query.
    Mode,
    /// It becomes a differential one again.
    ModeEnd(u8),
    /// The network goes away.
    Offline,
    /// It comes back.
    Online,
    /// The host sends its last lines again.
    Repeat,
    /// Part of the log arrives in another file again (of the fleet).
    Resend,
    /// Dead bytes get into the log (of the fleet).
    Garbage,
}

impl Fault {
    /// What keeps happening to every host.
    pub(super) const OF_HOST: [Fault; 9] = [
        Fault::DatabaseLoss,
        Fault::Save,
        Fault::Epoch,
        Fault::Clock,
        Fault::Purge,
        Fault::Sql,
        Fault::Mode,
        Fault::Offline,
        Fault::Repeat,
    ];

    /// What keeps happening to the relay.
    pub(super) const OF_FLEET: [Fault; 2] = [Fault::Resend, Fault::Garbage];

    /// Mean seconds between two of them; `None` for what only follows another.
    pub(super) fn mean(self, options: &Options) -> Option<f64> {
        let days = match self {
            Fault::DatabaseLoss => 12.0,
            Fault::Save => 15.0,
            Fault::Epoch => 7.0,
            Fault::Clock => 10.0,
            Fault::Purge => 20.0,
            Fault::Sql => 25.0,
            Fault::Mode => 20.0,
            Fault::Offline => 5.0,
            Fault::Repeat => 2.0,
            Fault::Resend => 0.3,
            Fault::Garbage => 0.1,
            Fault::Restore | Fault::ModeEnd(_) | Fault::Online => return None,
        };
        let fleet = Fault::OF_FLEET.contains(&self);
        let rate = if fleet { options.relay_rate() } else { options.host_rate() };
        Some(days * 86_400.0 / rate.max(1e-6))
    }

    /// How long something that ends by itself lasts on average: a part of the whole simulation, a day at most.
    pub(super) fn span(options: &Options) -> f64 {
        (options.days * 86_400.0 / 8.0).clamp(60.0, 86_400.0)
    }
}
