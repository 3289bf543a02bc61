//! Damaged files: every answer is right, or an error that says where the damage is.

mod damage;
