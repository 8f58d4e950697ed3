//! The file of leases is the successor's: whoever drains asks there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::message::{Answer, Ask, Message};
use crate::lease::store::{FileStore, Heir, Lost, Written};

/// A disk that is well answers in this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions to the successor, and who waits for answers. When nobody attends to them any more they fail.
pub(super) struct RemoteFile {
    asks: mpsc::UnboundedSender<Message>,
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Option<Answer>>>>>,
    last: AtomicU64,
}

impl RemoteFile {
    /// Questions go there.
    pub fn new(asks: mpsc::UnboundedSender<Message>) -> Arc<Self> {
        Arc::new(Self { asks, waiting: Mutex::new(Some(HashMap::new())), last: AtomicU64::new(0) })
    }

    /// An answer has come.
    pub fn answered(&self, id: u64, answer: Option<Answer>) {
        let asked = self.waiting.lock().as_mut().and_then(|waiting| waiting.remove(&id));
        // The asker may have stopped waiting.
        drop(asked.map(|asked| asked.send(answer)));
    }

    /// No answer will come any more.
    pub fn gone(&self) {
        *self.waiting.lock() = None;
    }

    fn ask(&self, ask: Ask) -> Result<oneshot::Receiver<Option<Answer>>, Lost> {
        let (asked, answer) = oneshot::channel();
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().as_mut().ok_or(Lost)?.insert(id, asked);
        self.asks.send(Message::Ask { id, ask }).map_err(|_| Lost)?;
        Ok(answer)
    }
}

#[async_trait]
impl Heir for RemoteFile {
    fn write(&self, part: Written) -> Result<(), Lost> {
        // The sender is dropped when the successor is gone.
        match self.ask(Ask::Write(part))?.blocking_recv() {
            Ok(Some(Answer::Written)) => Ok(()),
            _ => Err(Lost),
        }
    }

    async fn look(&self, place: Vec<u8>) -> Result<Option<(i64, Vec<u8>)>, Lost> {
        let answer = self.ask(Ask::Look(place))?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(Some(Answer::Held(end, sealed)))) => Ok(Some((end, sealed))),
            Ok(Ok(Some(Answer::Nothing))) => Ok(None),
            _ => Err(Lost),
        }
    }
}

/// Answers a question of the process before, from this one's file.
pub(super) async fn answer(file: Option<Arc<FileStore>>, ask: Ask) -> Option<Answer> {
    let file = file?;
    match ask {
        Ask::Write(part) => file.take(part).await.ok().map(|()| Answer::Written),
        Ask::Look(place) => Some(match file.look_for(place).await.ok()? {
            Some((end, sealed)) => Answer::Held(end, sealed),
            None => Answer::Nothing,
        }),
    }
}
