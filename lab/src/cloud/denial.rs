//! What each cloud answers to a caller whose role lacks the permission.
//!
//! Alibaba Cloud names the action in a field of its own (`AccessDeniedDetail`), AWS names action and resource in the text;
//! both add a diagnostic text that only the account's owner can decode. Shapes: the announcement of ECS about its
//! authentication mechanism, RAM's `DecodeDiagnosticMessage`, IAM's page about access denied errors.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::json;

use super::ApiCall;
use super::asked::Asked;
use super::error::ApiError;
use super::vpc::Vpc;
use crate::config::CloudKind;

/// The refusal of this call, since the caller may not do this.
pub fn denied(vpc: &Vpc, call: &ApiCall, asked: &Asked) -> ApiError {
    match vpc.config.cloud {
        CloudKind::Aliyun => by_ram(vpc, call, asked),
        CloudKind::Aws => by_iam(vpc, call, asked),
    }
}

fn by_ram(vpc: &Vpc, call: &ApiCall, Asked { action, .. }: &Asked) -> ApiError {
    let principal = format!("{}:{}", vpc.config.ram_role, call.caller);
    let message = "User not authorized to operate on the specified resource, or this API doesn't support RAM.";
    let mut error = ApiError::new(403, "Forbidden.RAM", message);
    error.access_denied = Some(json!({
        "AuthAction": action,
        "AuthPrincipalDisplayName": principal,
        "AuthPrincipalOwnerId": vpc.profile.owner,
        "AuthPrincipalType": "AssumedRoleUser",
        "EncodedDiagnosticMessage": encoded(action, &principal),
        "NoPermissionType": "ImplicitDeny",
        "PolicyType": "AccountLevelIdentityBasedPolicy",
    }));
    error
}

fn by_iam(vpc: &Vpc, call: &ApiCall, Asked { action, resource, .. }: &Asked) -> ApiError {
    let owner = vpc.profile.owner;
    let role = format!("{}/{}", vpc.config.ram_role, call.caller);
    let principal = format!("arn:aws:sts::{owner}:assumed-role/{role}");
    let mut text = format!(
        "You are not authorized to perform this operation. User: {principal} is not authorized to perform: {action}"
    );
    let because = format!(" because no identity-based policy allows the {action} action");
    // Describe calls know no resources, and nothing about them is encoded.
    if resource == "*" {
        text.push_str(&because);
    } else {
        let encoded = encoded(action, &principal);
        text.extend([" on resource: ", resource, &because]);
        text.extend([". Encoded authorization failure message: ", &encoded]);
    }
    ApiError::new(403, "UnauthorizedOperation", text)
}

/// The real one is encrypted; it is as long as this one.
fn encoded(action: &str, principal: &str) -> String {
    let told = json!({ "allowed": false, "action": action, "principal": principal });
    URL_SAFE.encode(told.to_string().repeat(3))
}
