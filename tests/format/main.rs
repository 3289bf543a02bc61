//! Damaged files: every answer is right, or an error that says where the damage is; and `fsck` finds all of it.

mod damage;
mod flips;
mod golden;
mod logs;
mod long;
mod order;
mod planted;
mod recover;
mod stores;
mod twice;
mod ways;
