use super::*;

fn quota(what: &str) -> ErrorKind {
    ErrorKind::QuotaExceeded(what.into())
}

#[test]
fn every_documented_code_has_its_kind() {
    let denied = || ErrorKind::Denied("ec2:AttachNetworkInterface on all resources (*)".into());
    let throttled = || ErrorKind::Throttled { retry_after: None };
    let table = [
        ("InsufficientFreeAddressesInSubnet", ErrorKind::SubnetFull),
        ("InsufficientCidrBlocks", ErrorKind::Fragmented),
        ("PrivateIpAddressLimitExceeded", quota("addresses of the network interface")),
        ("AttachmentLimitExceeded", quota("network interfaces of the instance")),
        ("NetworkInterfaceLimitExceeded", quota("network interfaces of the account")),
        (
            "SecurityGroupsPerInterfaceLimitExceeded",
            quota("SecurityGroupsPerInterfaceLimitExceeded"),
        ),
        ("InvalidNetworkInterfaceID.NotFound", ErrorKind::NotFound),
        ("InvalidInstanceID.NotFound", ErrorKind::NotFound),
        ("InvalidSubnetID.NotFound", ErrorKind::NotFound),
        ("InvalidGroup.NotFound", ErrorKind::NotFound),
        ("InvalidAttachmentID.NotFound", ErrorKind::Conflict),
        ("InvalidNetworkInterface.InUse", ErrorKind::Conflict),
        ("InvalidIPAddress.InUse", ErrorKind::Conflict),
        ("IncorrectState", ErrorKind::Conflict),
        ("IncorrectInstanceState", ErrorKind::Conflict),
        ("InvalidParameterValue", ErrorKind::Invalid),
        ("InvalidParameterCombination", ErrorKind::Invalid),
        ("MissingParameter", ErrorKind::Invalid),
        ("IdempotentParameterMismatch", ErrorKind::Invalid),
        ("OperationNotPermitted", ErrorKind::Invalid),
        ("DryRunOperation", ErrorKind::Invalid),
        ("RequestLimitExceeded", throttled()),
        ("Client.RequestLimitExceeded", throttled()),
        ("Throttling", throttled()),
        ("ThrottlingException", throttled()),
        ("EC2ThrottledException", throttled()),
        ("UnauthorizedOperation", denied()),
        ("Client.UnauthorizedOperation", denied()),
        ("AccessDenied", denied()),
        ("AuthFailure", ErrorKind::Credentials),
        ("ExpiredToken", ErrorKind::Credentials),
        ("RequestExpired", ErrorKind::Credentials),
        ("SignatureDoesNotMatch", ErrorKind::Credentials),
        ("InternalError", ErrorKind::Unavailable),
        ("Server.InternalError", ErrorKind::Unavailable),
        ("Unavailable", ErrorKind::Unavailable),
        ("SomethingNew", ErrorKind::Invalid),
    ];
    for (code, kind) in table {
        assert_eq!(classify(code, "", 400, "AttachNetworkInterface"), kind, "{code}");
    }
}

#[test]
fn one_code_for_a_wrong_value_and_for_a_state_is_told_apart_by_its_text() {
    for text in [
        "Network interface 'eni-1' is currently in use.",
        "The instance already has an interface attached at device index '1'.",
    ] {
        let kind = classify("InvalidParameterValue", text, 400, "DeleteNetworkInterface");
        assert_eq!(kind, ErrorKind::Conflict, "{text}");
    }
}

#[test]
fn a_gateway_that_gave_up_leaves_a_change_open_and_a_read_not() {
    for (status, change, read) in [
        (502, ErrorKind::Unknown, ErrorKind::Unavailable),
        (504, ErrorKind::Unknown, ErrorKind::Unavailable),
        (500, ErrorKind::Unavailable, ErrorKind::Unavailable),
        (
            429,
            ErrorKind::Throttled { retry_after: None },
            ErrorKind::Throttled { retry_after: None },
        ),
        (403, ErrorKind::Invalid, ErrorKind::Invalid),
    ] {
        assert_eq!(classify("HttpX", "", status, "CreateNetworkInterface"), change, "{status}");
        assert_eq!(classify("HttpX", "", status, "DescribeNetworkInterfaces"), read, "{status}");
    }
}

#[test]
fn a_refused_permission_names_the_action_and_the_resource_that_the_text_names() {
    let text = "You are not authorized to perform this operation. User: arn:aws:sts::1:assumed-role/r/i is not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:eu-west-1:1:network-interface/* because no identity-based policy allows the ec2:CreateTags action";
    assert_eq!(
        classify("UnauthorizedOperation", text, 403, "CreateNetworkInterface"),
        ErrorKind::Denied("ec2:CreateTags on arn:aws:ec2:eu-west-1:1:network-interface/*".into())
    );
}
