//! Instances and instance types.

use serde::Deserialize;
use tideway_model::{InstanceId, Limits};

use super::{Senseless, field, json, or_default};
use crate::{Api, ApiRequest};

/// Asks for one instance.
pub fn describe(region: &str, id: &InstanceId) -> ApiRequest {
    // One parameter that holds a JSON list; ids have no characters to escape.
    ApiRequest::new(Api::Ecs, "DescribeInstances", region)
        .with("InstanceIds", format!("[\"{id}\"]"))
}

/// Most ids in one question, and most instances of one page (`MaxResults` 1–100, else 10).
pub const IDS_PER_CALL: usize = 100;

/// One page of those of the instances that exist; `ids` are at most [`IDS_PER_CALL`]. Unknown ids are no error, they are left
/// out of the answer.
pub fn describe_some(region: &str, ids: &[InstanceId], next_token: Option<&str>) -> ApiRequest {
    let list: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    let request = ApiRequest::new(Api::Ecs, "DescribeInstances", region)
        .with("InstanceIds", format!("[{}]", list.join(",")))
        .with("MaxResults", IDS_PER_CALL);
    match next_token {
        Some(token) => request.with("NextToken", token),
        None => request,
    }
}

/// Asks for one instance type.
pub fn describe_type(region: &str, instance_type: &str) -> ApiRequest {
    ApiRequest::new(Api::Ecs, "DescribeInstanceTypes", region)
        .with_list("InstanceTypes", [instance_type])
}

/// What an answer tells of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// VPC.
    pub vpc: String,
}

/// Decodes the instance with this id; none when the list lacks it.
pub fn decode(body: &[u8], id: &InstanceId) -> Result<Option<Instance>, Senseless> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        instances: List,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        #[serde(default, deserialize_with = "or_default")]
        instance: Vec<Wire>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        instance_id: String,
        instance_type: String,
        zone_id: String,
        vpc_attributes: Vpc,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Vpc {
        vpc_id: String,
    }
    let answer: Answer = json(body)?;
    let found = answer.instances.instance.into_iter().find(|i| i.instance_id == id.as_str());
    Ok(found.map(|i| Instance {
        instance_type: i.instance_type,
        zone: i.zone_id,
        vpc: i.vpc_attributes.vpc_id,
    }))
}

/// Decodes one page of instances: their ids, and the token of the next page.
pub fn decode_ids(body: &[u8]) -> Result<(Vec<InstanceId>, Option<String>), Senseless> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        // Required: an answer without the list would look like instances that have gone.
        instances: List,
        #[serde(default, deserialize_with = "or_default")]
        next_token: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        instance: Vec<Wire>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        instance_id: String,
    }
    let answer: Answer = json(body)?;
    let id = |i: Wire| field("InstanceId", &i.instance_id, i.instance_id.as_str().try_into());
    let ids = answer.instances.instance.into_iter().map(id).collect::<Result<_, _>>()?;
    Ok((ids, Some(answer.next_token).filter(|token| !token.is_empty())))
}

/// Decodes the limits of an instance type; none when the list lacks it.
pub fn decode_limits(body: &[u8], instance_type: &str) -> Result<Option<Limits>, Senseless> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        instance_types: List,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct List {
        #[serde(default, deserialize_with = "or_default")]
        instance_type: Vec<Wire>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        instance_type_id: String,
        eni_quantity: u16,
        #[serde(default, deserialize_with = "or_default")]
        eni_total_quantity: u16,
        eni_private_ip_address_quantity: u16,
        #[serde(default, deserialize_with = "or_default")]
        eni_ipv6_address_quantity: u16,
        #[serde(default, deserialize_with = "or_default")]
        eni_trunk_supported: bool,
    }
    let answer: Answer = json(body)?;
    let types = answer.instance_types.instance_type;
    Ok(types.into_iter().find(|t| t.instance_type_id == instance_type).map(|t| Limits {
        enis: t.eni_quantity,
        ipv4_per_eni: t.eni_private_ip_address_quantity,
        ipv6_per_eni: t.eni_ipv6_address_quantity,
        trunk: t.eni_trunk_supported,
        members: if t.eni_trunk_supported {
            t.eni_total_quantity.saturating_sub(t.eni_quantity)
        } else {
            0
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_ids_are_a_json_list_in_one_parameter() {
        let id = InstanceId::try_from("i-1").unwrap();
        assert_eq!(describe("r", &id).get("InstanceIds"), Some(r#"["i-1"]"#));
        let two = describe_some("r", &[id, InstanceId::try_from("i-2").unwrap()], Some("p2"));
        assert_eq!(two.get("InstanceIds"), Some(r#"["i-1","i-2"]"#));
        // Without it a page holds ten, and the others would look as if they were gone.
        assert_eq!((two.get("MaxResults"), two.get("NextToken")), (Some("100"), Some("p2")));
    }

    #[test]
    fn an_answer_without_its_list_is_not_one_in_which_every_instance_is_gone() {
        for body in ["{}", r#"{"Instances":null}"#, r#"{"Instances":{}}"#, "[]", ""] {
            assert!(decode_ids(body.as_bytes()).is_err(), "{body:?}");
        }
        let nameless = br#"{"Instances":{"Instance":[{"InstanceId":""}]}}"#;
        decode_ids(nameless).unwrap_err();
        let empty = br#"{"NextToken":"","Instances":{"Instance":[]}}"#;
        assert_eq!(decode_ids(empty).unwrap(), (vec![], None));
    }

    #[test]
    fn another_instance_in_the_list_is_not_ours() {
        let body = br#"{"TotalCount":1,"Instances":{"Instance":[{"InstanceId":"i-2","InstanceType":"ecs.g6.large",
            "ZoneId":"z","VpcAttributes":{"VpcId":"vpc-1","PrivateIpAddress":{"IpAddress":["10.0.0.1"]}}}]}}"#;
        assert_eq!(decode(body, &InstanceId::try_from("i-1").unwrap()).unwrap(), None);
        let found = decode(body, &InstanceId::try_from("i-2").unwrap()).unwrap().unwrap();
        assert_eq!((found.vpc.as_str(), found.zone.as_str()), ("vpc-1", "z"));
    }

    #[test]
    fn members_count_only_where_a_trunk_is_possible() {
        let body = |trunk| {
            format!(
                r#"{{"InstanceTypes":{{"InstanceType":[{{"InstanceTypeId":"t","EniQuantity":4,"EniTotalQuantity":20,
                "EniPrivateIpAddressQuantity":15,"EniIpv6AddressQuantity":15,"EniTrunkSupported":{trunk},"MemorySize":16.0}}]}}}}"#
            )
        };
        let limits = |trunk| decode_limits(body(trunk).as_bytes(), "t").unwrap().unwrap();
        assert_eq!((limits(true).members, limits(false).members), (16, 0));
        assert_eq!((limits(true).enis, limits(true).ipv4_per_eni), (4, 15));
        assert_eq!(decode_limits(body(true).as_bytes(), "u").unwrap(), None);
    }

    #[test]
    fn a_type_without_its_limits_is_senseless() {
        let body =
            br#"{"InstanceTypes":{"InstanceType":[{"InstanceTypeId":"t","EniQuantity":-1}]}}"#;
        decode_limits(body, "t").unwrap_err();
    }
}
