//! Rules got wrong on purpose, one at a time.
//!
//! A comparison that never fails proves nothing. Each of these changes exactly one rule of the model; a run of the
//! comparison against each must find a difference.

macro_rules! wrong {
    ({ $($(#[$doc:meta])* $name:ident,)* } { $($(#[$lost_doc:meta])* $lost:ident,)* }) => {
        /// Which rule, if any, a model gets wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Wrong {
            /// All rules as they are specified.
            None,
            $($(#[$doc])* $name,)*
            $($(#[$lost_doc])* $lost,)*
        }

        impl Wrong {
            /// Every wrong rule of what logs say; [`Wrong::None`] is not among them.
            pub const ALL: &'static [Wrong] = &[$(Wrong::$name,)*];
            /// Every wrong rule of what recovery lost.
            pub const OF_LOSSES: &'static [Wrong] = &[$(Wrong::$lost,)*];
        }
    };
}

wrong! {
    {
        /// Equal rows within a delivery count once.
        LostMultiplicity,
        /// Counts of several deliveries of a look add up.
        ResendCountedTwice,
        /// A second that changes does not end a delivery.
        DeliveryNotCut,
        /// A skipped counter opens no break.
        GapIgnored,
        /// A skipped counter opens a break with agents older than 4.5 too.
        GapOfOldAgents,
        /// A row is still there at the second of the look that no longer has it.
        IntervalEndOffByOne,
        /// At the second of a look nothing is more certain than between looks.
        AtLookNotDefinite,
        /// A counter that comes twice, or two contents of one batch, are one unbroken history.
        ForkMerged,
        /// A fork opens one break only: later looks of the chain are believed.
        ForkOpensOnce,
        /// The full set of a new epoch leaves the rows of the old one in place.
        EpochClosesNothing,
        /// Looks of a chain that is over still answer.
        OldChainGoesOn,
        /// `known_at` changes nothing.
        KnownAtIgnored,
        /// A chain goes by its looks' seconds, not by their counters.
        ClockStepUnordered,
        /// A zone in the address asked for matches any.
        ZoneIgnored,
        /// A chain without a full set is believed.
        NoBaseIgnored,
        /// Counter 0 without removed rows is a full set, whatever the agent.
        DoubtfulZeroIsFull,
        /// A removed row that was not held opens no break.
        NotHeldIgnored,
        /// A full set starts a new version of every row it holds.
        FullSetSplitsVersions,
        /// An IPv4-mapped IPv6 address is another address.
        MappedAddressNotEqual,
        /// Two snapshots of one second that differ are no break.
        SnapshotForkIgnored,
        /// The empty counter-0 batches of 5.8.0 and 5.8.1 say that the table is empty.
        EmptyBatch58IsLook,
        /// Rows carried into a break stay verified.
        BreakRowsStayVerified,
        /// A removal inside a break takes unverified copies first.
        UnverifiedRemovedFirst,
        /// Copies that only the next look has are not listed.
        PossibleFromBOmitted,
        /// Copies gone at the next look are definite.
        GoneAtBDefinite,
        /// The stretch before a disputed full set is as certain as any.
        DisputedBBelieved,
        /// The newest agent version of all speaks for every second.
        AgentVersionNotAsOf,
        /// Between two kinds under one name the snapshot always answers.
        SnapshotKindFirst,
        /// Equal events of several looks count once.
        EventsDoNotAddUp,
        /// Event time is the observed second, whatever the column `time` says.
        EventTimeIgnored,
        /// DOUBLE columns keep their text as written.
        DoubleTextKept,
        /// Numbers compare as text in `--where`.
        WhereAsText,
        /// Row-per-line lines beside a batch are a look of their own.
        RowLinesStandApart,
        /// A host is counted by the worst of its streams.
        WorstStreamCounts,
    }
    {
        /// What is lost breaks nothing.
        LossIgnored,
        /// Losses that meet are several.
        LossesStandApart,
        /// Any full set ends what a loss broke.
        LossEndsWithAnyFullSet,
        /// What is seen between lost looks is relied on.
        LossBelievedWithin,
        /// What is seen after a loss is relied on, whatever the lost looks' counters.
        LossOutOfOrderBelieved,
        /// What is seen after a loss is relied on though the looks do not ascend.
        LossAmongClockStepsBelieved,
        /// A loss was always known.
        LossKnownEver,
    }
}
