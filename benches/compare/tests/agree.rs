//! The whole command on a small fleet with the peers that need no installation: their answers agree, and a peer that is
//! not installed is told and not dropped.

use std::process::Command;

#[test]
fn erstwhile_and_sqlite_agree_and_a_missing_peer_is_told() {
    let nowhere = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["--hosts", "4", "--days", "0.5", "--questions", "8", "--growth", "2", "--format", "json"])
        .args(["--only", "erstwhile,sqlite,sqlite-rtree,duckdb", "--libraries"])
        .arg(nowhere.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["agrees"], true);
    let peers = report["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 4);
    for peer in &peers[..3] {
        assert!(peer["missing"].is_null(), "{peer}");
        for (variant, set) in
            [("all", "questions"), ("short_history", "shared_questions"), ("few_hosts", "shared_questions")]
        {
            let asked = peer["variants"][variant][set].as_object().unwrap();
            assert_eq!(asked.len(), 6, "{asked:?}");
            for (question, timing) in asked {
                assert!(timing["p50_micros"].as_f64() > Some(0.0), "{question} of {variant}: {timing}");
            }
        }
    }
    let missing = peers[3]["missing"].as_str().unwrap();
    assert!(missing.contains("libduckdb.so"), "{missing}");
}
