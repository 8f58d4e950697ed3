//! A plug-in's `parameters`: what is opened, named in the query.

use std::collections::BTreeMap;

use crate::lease::settings::{ParameterSettings, ParameterValue};

/// Each parameter with the value that was asked for, sorted by name.
pub type Asked = Box<[(Box<str>, Box<str>)]>;

/// The parameters of one plug-in.
#[derive(Clone, Debug, Default)]
pub struct Parameters(Box<[Parameter]>);

#[derive(Clone, Debug)]
struct Parameter {
    name: Box<str>,
    values: Box<[Box<str>]>,
    default: Option<Box<str>>,
}

/// A parameter is absent, stands twice, or has a value that is not listed; or one that there is not was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlisted;

impl Parameters {
    /// As configured.
    pub fn new(settings: &BTreeMap<String, ParameterSettings>) -> Self {
        let text = |value: &ParameterValue| value.text().into();
        let parameter = |(name, settings): (&String, &ParameterSettings)| Parameter {
            name: name.as_str().into(),
            values: settings.values().iter().map(text).collect(),
            default: settings.default().map(text),
        };
        Self(settings.iter().map(parameter).collect())
    }

    /// What this query asks for. Other parameters than these are somebody else's.
    ///
    /// # Errors
    /// A parameter is missing, stands twice, or has a value that is not listed.
    pub fn of_query(&self, query: Option<&str>) -> Result<Asked, Unlisted> {
        if self.0.is_empty() {
            return Ok(Box::default());
        }
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let asked = self.0.iter().map(|parameter| {
            let mut found = pairs.iter().filter(|(name, _)| **name == *parameter.name).map(|(_, value)| &**value);
            let value = found.next();
            if found.next().is_some() { Err(Unlisted) } else { parameter.judge(value) }
        });
        asked.collect()
    }

    /// Reads the parameters of pairs, as an edge sends them: a pair of another name is refused.
    ///
    /// # Errors
    /// As those of [`Self::of_query`].
    pub fn of_pairs(&self, pairs: &BTreeMap<Box<str>, Box<str>>) -> Result<Asked, Unlisted> {
        if pairs.keys().any(|name| !self.0.iter().any(|parameter| parameter.name == *name)) {
            return Err(Unlisted);
        }
        self.0.iter().map(|parameter| parameter.judge(pairs.get(&parameter.name).map(|value| &**value))).collect()
    }

    /// One that can be asked for: the default, else the first value of each.
    pub fn sample(&self) -> Asked {
        let value = |parameter: &Parameter| {
            let value = parameter.default.clone().or_else(|| parameter.values.first().cloned());
            (parameter.name.clone(), value.unwrap_or_default())
        };
        self.0.iter().map(value).collect()
    }
}

impl Parameter {
    fn judge(&self, value: Option<&str>) -> Result<(Box<str>, Box<str>), Unlisted> {
        let value = match value {
            Some(asked) => self.values.iter().find(|known| ***known == *asked),
            None => self.default.as_ref(),
        };
        value.map(|value| (self.name.clone(), value.clone())).ok_or(Unlisted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(toml: &str) -> Parameters {
        Parameters::new(&toml::from_str(toml).unwrap())
    }

    #[test]
    fn an_absent_doubled_or_unlisted_value_is_refused_and_a_default_stands_in() {
        let known = parameters("dashboard = ['sales', 'care', 7]\nview = { values = ['a', 'b'], default = 'b' }");
        let asked = |query: &str| {
            known.of_query(Some(query)).map(|asked| asked.iter().map(|(_, v)| v.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(asked("dashboard=sales"), Ok(vec!["sales".into(), "b".into()]));
        assert_eq!(asked("view=a&x=1&dashboard=7"), Ok(vec!["7".into(), "a".into()]));
        assert_eq!(asked("d%61shboard=c%61re"), Ok(vec!["care".into(), "b".into()]));
        for wrong in [
            "",
            "dashboard",
            "dashboard=",
            "dashboard=Sales",
            "dashboard=sales&dashboard=sales",
            "dashboard=sales%00",
            "dashboard=sales&view=c",
            "dashboard=sales&view=",
            "dashboard=sales&view=a&view=a",
            "Dashboard=sales",
            "dashboard=sales;view=a",
            "dashboard=07",
        ] {
            assert_eq!(asked(wrong), Err(Unlisted), "{wrong}");
        }
        assert_eq!(known.of_query(None), Err(Unlisted));
        assert_eq!(Parameters::default().of_query(Some("dashboard=x&dashboard=y")).unwrap().len(), 0);
    }

    #[test]
    fn an_edge_names_each_parameter_and_no_other() {
        let known = parameters("dashboard = ['sales']");
        let pairs = |list: &[(&str, &str)]| {
            known.of_pairs(&list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
        };
        assert_eq!(pairs(&[("dashboard", "sales")]).unwrap().len(), 1);
        for wrong in [&[][..], &[("dashboard", "x")], &[("dashboard", "sales"), ("x", "y")]] {
            assert_eq!(pairs(wrong), Err(Unlisted));
        }
        assert_eq!(&*known.sample()[0].1, "sales");
    }
}
