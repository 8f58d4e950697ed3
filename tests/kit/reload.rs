//! Another configuration while the stack runs.

use valet_gateway::config::Config;
use valet_gateway::server::{ConfigSource, Reloaded};

use super::stack::Stack;

/// The configuration as it is written beside the keys.
pub const FILE: &str = "valet.toml";

/// How a process reads it again.
pub fn source(directory: &std::path::Path) -> ConfigSource {
    let directory = directory.to_owned();
    let file = directory.join(FILE);
    let read = {
        let file = file.clone();
        Box::new(move || {
            let text = std::fs::read_to_string(&file).map_err(|fault| vec![fault.to_string()])?;
            Config::parse(&text, FILE, &directory).map_err(|faults| faults.iter().map(ToString::to_string).collect())
        })
    };
    ConfigSource { file: Some(file), read }
}

impl Stack {
    /// The configuration file.
    pub fn config(&self) -> String {
        std::fs::read_to_string(self.directory.path().join(FILE)).expect("a configuration")
    }

    /// Writes another one.
    pub fn write_config(&self, text: &str) {
        std::fs::write(self.directory.path().join(FILE), text).expect("a configuration");
    }

    /// Reads everything again.
    pub async fn reload(&self) -> Reloaded {
        self.gateway().reload().await
    }

    /// Puts this in force; what has changed.
    #[track_caller]
    pub fn reload_with(&self, text: &str) -> impl Future<Output = Vec<String>> {
        self.write_config(text);
        async {
            match self.reload().await {
                Reloaded::Applied(changed) => changed,
                Reloaded::Refused(faults) => panic!("refused: {faults:#?}"),
            }
        }
    }

    /// Tries to put this in force; why it can't be.
    pub async fn refused(&self, text: &str) -> Vec<String> {
        self.write_config(text);
        match self.reload().await {
            Reloaded::Applied(changed) => panic!("applied: {changed:?} of:\n{text}"),
            Reloaded::Refused(faults) => faults,
        }
    }
}
