//! The actions of Alibaba Cloud's ECS and VPC APIs, one file per group. Each reads its parameters, calls an operation and
//! shapes the answer.

pub mod address;
pub mod attachment;
pub mod codes;
pub mod describe;
pub mod dispatch;
pub mod eni;
pub mod inventory;
pub mod paging;
pub mod shape;
pub mod subnet;
pub mod tag;

use super::error::ApiError;
use super::params::Params;
use super::vpc::Vpc;

/// Checks `RegionId`; `mandatory` where the API says so.
pub fn check_region(vpc: &Vpc, params: &Params, mandatory: bool) -> Result<(), ApiError> {
    match params.get("RegionId") {
        Some(region) if region == vpc.config.region => Ok(()),
        Some(_) => Err(ApiError::not_found("InvalidRegionId.NotFound", "RegionId")),
        None if mandatory => Err(ApiError::missing("RegionId")),
        None => Ok(()),
    }
}

/// `NetworkInterfaceName`: 2..=128 characters, letters, digits, `:` `_` `.` `-`, starting with a letter.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let length = name.chars().count();
    let fits = (2..=128).contains(&length)
        && name.chars().next().is_some_and(char::is_alphabetic)
        && name.chars().all(|c| c.is_alphanumeric() || ":_.-".contains(c));
    if fits {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        "InvalidNetworkInterfaceName.Malformed",
        "The name is not 2 to 128 letters, digits, ':', '_', '.', '-'.",
    ))
}

/// `Description`: 2..=`max` characters, not starting with a URL scheme.
pub fn check_description(text: &str, max: usize) -> Result<(), ApiError> {
    let length = text.chars().count();
    if (2..=max).contains(&length) && !text.starts_with("http://") && !text.starts_with("https://")
    {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        "InvalidDescription.Malformed",
        format!("The description is not 2 to {max} characters or starts like a URL."),
    ))
}

/// Key and value of a tag.
pub fn check_tag(key: &str, value: &str) -> Result<(), ApiError> {
    let url = |text: &str| text.contains("http://") || text.contains("https://");
    let length = key.chars().count();
    if !(1..=128).contains(&length)
        || key.starts_with("aliyun")
        || key.starts_with("acs:")
        || url(key)
    {
        return Err(ApiError::new(
            400,
            "InvalidTagKey.Malformed",
            format!("The tag key {key:?} is empty, too long, reserved or a URL."),
        ));
    }
    if value.chars().count() > 128 || url(value) {
        return Err(ApiError::new(
            400,
            "InvalidTagValue.Malformed",
            format!("The value of tag {key:?} is too long or a URL."),
        ));
    }
    Ok(())
}
