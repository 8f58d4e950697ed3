//! The access log of a stack, in memory.

use std::io::Write;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::in_time;

/// Where the gateway's lines arrive.
#[derive(Clone)]
pub struct Lines(Arc<watch::Sender<Vec<u8>>>);

impl Default for Lines {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }
}

impl Lines {
    /// All of it, when there are at least `count` lines.
    pub async fn text(&self, count: usize) -> String {
        let mut arrived = self.0.subscribe();
        let enough = |all: &Vec<u8>| all.iter().filter(|byte| **byte == b'\n').count() >= count;
        let all = in_time("access lines", arrived.wait_for(enough)).await.expect("the sender is ours").clone();
        String::from_utf8(all).expect("lines are UTF-8")
    }

    /// Each line, when there are at least `count`.
    pub async fn all(&self, count: usize) -> Vec<Value> {
        let text = self.text(count).await;
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send_modify(|all| all.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
