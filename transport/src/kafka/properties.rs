//! Properties of librdkafka in a configuration: each is checked as it is read, and secrets are not written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use super::KafkaOptions;
use super::client::check_property;

pub(super) fn serialize<S: Serializer>(
    properties: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let shown = |(name, value)| (name, if KafkaOptions::is_secret(name) { "***" } else { value });
    serializer.collect_map(properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).map(shown))
}

/// Errors: librdkafka's, at the property that is wrong.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    deserializer.deserialize_map(Properties)
}

struct Properties;

impl<'de> Visitor<'de> for Properties {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of librdkafka properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut properties = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(ValueOf(&name))?;
            properties.insert(name, value);
        }
        Ok(properties)
    }
}

/// The value of the property of this name.
struct ValueOf<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for ValueOf<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let value = String::deserialize(deserializer)?;
        check_property(self.0, &value).map_err(D::Error::custom)?;
        Ok(value)
    }
}
