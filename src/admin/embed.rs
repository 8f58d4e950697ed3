//! What a page needs that embeds a plug-in: the values of its header fields and of its frame, from the configuration.

use serde_json::{Value, json};

use crate::provider::RedirectHosts;

/// What is known of one plug-in.
pub struct EmbedPolicy {
    /// The plug-in's name.
    pub plugin: String,
    /// The gateway's origin at which it is opened.
    pub origin: String,
    /// The path at which the plug-in is opened.
    pub path: String,
    /// Where its frame goes.
    pub hosts: RedirectHosts,
    /// The browser's features that its page uses (`plugin.permissions`).
    pub permissions: Vec<String>,
}

impl EmbedPolicy {
    /// As `GET /api/embed-policy` tells it.
    pub fn json(&self) -> Value {
        // A browser judges each redirect of a frame and of a form: the gateway's own address, and where it leads.
        let mut sources = vec![self.origin.clone()];
        sources.extend(self.hosts.csp_sources());
        let sources = sources.join(" ");
        // The `allow` of a frame knows no `*.`; the header field does, in the browsers that have it.
        let allowed = self.hosts.origins().map_or_else(|| "*".to_owned(), |origins| origins.join(" "));
        let quoted = |origins: Vec<String>| origins.iter().map(|origin| format!(" \"{origin}\"")).collect::<String>();
        let delegated =
            self.hosts.origin_patterns().map_or_else(|| "*".to_owned(), |all| format!("(self{})", quoted(all)));
        let each = |separator: &str, one: &dyn Fn(&String) -> String| {
            self.permissions.iter().map(one).collect::<Vec<_>>().join(separator)
        };
        let src = format!("{}{}", self.origin, self.path);
        let allow = each("; ", &|name| format!("{name} {allowed}"));
        json!({
            "plugin": self.plugin,
            "src": src,
            "frame_src": sources,
            "content_security_policy": format!("frame-src {sources}; form-action {sources}"),
            "permissions_policy": each(", ", &|name| format!("{name}={delegated}")),
            "allow": allow,
            "iframe": format!("<iframe src=\"{src}\" allow=\"{allow}\"></iframe>"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::RedirectHost;
    use crate::setting::TextSetting;

    fn policy(hosts: &[&str], permissions: &[&str]) -> Value {
        let hosts: Vec<_> = hosts.iter().map(|host| RedirectHost::read(host).unwrap()).collect();
        let policy = EmbedPolicy {
            plugin: "face-scan".into(),
            origin: "https://app.example.com".into(),
            path: "/plugins/face-scan".into(),
            hosts: RedirectHosts::from(&*hosts),
            permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
        };
        policy.json()
    }

    #[test]
    fn exact_hosts_are_named_everywhere() {
        let told = policy(&["embed.acme.example", "scan.acme.example:8443"], &["camera", "microphone"]);
        let hosts = "https://embed.acme.example https://scan.acme.example:8443";
        assert_eq!(told["frame_src"], format!("https://app.example.com {hosts}"));
        assert_eq!(
            told["content_security_policy"],
            format!("frame-src https://app.example.com {hosts}; form-action https://app.example.com {hosts}")
        );
        let quoted = "(self \"https://embed.acme.example\" \"https://scan.acme.example:8443\")";
        assert_eq!(told["permissions_policy"], format!("camera={quoted}, microphone={quoted}"));
        assert_eq!(told["allow"], format!("camera {hosts}; microphone {hosts}"));
        assert_eq!(told["src"], "https://app.example.com/plugins/face-scan");
    }

    #[test]
    fn a_frame_can_not_name_what_is_below_a_domain() {
        let told = policy(&["*.intelliprove.com"], &["camera"]);
        assert_eq!(told["frame_src"], "https://app.example.com https://*.intelliprove.com");
        assert_eq!(told["permissions_policy"], "camera=(self \"https://*.intelliprove.com\")");
        assert_eq!(told["allow"], "camera *");
    }

    #[test]
    fn on_loopback_any_port_and_scheme_will_do() {
        let told = policy(&["127.0.0.1", "localhost:8080"], &["camera"]);
        assert_eq!(
            told["frame_src"],
            "https://app.example.com http://127.0.0.1:* https://127.0.0.1:* http://localhost:8080 https://localhost:8080"
        );
        assert_eq!((&told["permissions_policy"], &told["allow"]), (&"camera=*".into(), &"camera *".into()));
        assert_eq!(policy(&["localhost:8080"], &[])["allow"], "");
    }
}
