//! What others do to a node on either cloud, and where the clouds differ.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::json;
use tideway_lab::{
    CloudKind,
    cloud::{
        Cloud,
        cause::Cause,
        clock::Millis,
        operations::{attachment, eni, wanted::Wanted},
    },
};
use tideway_node_tests::{Bed, Lab, Pod, Setup, leaks, wait::s};

use crate::run::{run, run_on_both};

/// Somebody does something in the cloud's console; it is over when this returns.
pub(crate) fn by_hand<T>(
    lab: &Lab,
    work: impl FnOnce(&mut Cloud, Millis) -> Result<T, Cause>,
) -> Result<T> {
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let done = lab.api()?.with_cloud(|cloud| work(cloud, now));
    let done = done.map_err(|cause| anyhow!("by hand: {cause:?}"))?;
    lab.settle()?;
    Ok(done)
}

/// An ENI without our tags, attached to the first node.
fn foreign(lab: &Lab) -> Result<String> {
    let (instance, subnet) =
        (lab.instance("n1")?.id.clone(), lab.instance("n1")?.vswitch_id.clone());
    let group = &lab.api()?.description().security_groups.first().context("no group")?.id;
    let groups = vec![group.clone()];
    let made = by_hand(lab, |cloud, now| {
        let subnet = cloud.vpc.vswitch(&subnet)?.clone();
        let wanted = Wanted { v4_count: 2, ..Wanted::default() };
        let made = eni::create(&mut cloud.vpc, &subnet, groups, &wanted, now)?;
        let id = made.id.clone();
        cloud.vpc.put(made);
        Ok(id)
    })?;
    let place = attachment::Place::default();
    by_hand(lab, |cloud, now| attachment::attach(&mut cloud.vpc, &made, &instance, place, now))?;
    Ok(made)
}

/// What a foreign ENI must keep: its place, its addresses, its tags.
fn kept(lab: &Lab, id: &str) -> Result<String> {
    by_hand(lab, |cloud, _| {
        let eni = cloud.vpc.eni(id)?;
        Ok(format!("{:?} {:?} {:?} {:?}", eni.state, eni.instance, eni.v4, eni.tags))
    })
}

#[test]
fn an_eni_that_somebody_else_attached_is_never_touched() {
    run_on_both(&Setup::default().cold(), |bed| {
        let theirs = foreign(&bed.lab)?;
        let before = kept(&bed.lab, &theirs)?;
        bed.node_mut(0)?.start()?;
        let shown = bed.node(0)?.warm()?;
        ensure!(shown.enis.iter().all(|eni| eni.id != theirs), "it is in the books");
        // More than the warm pool has, so that it grows beside the other one.
        let pods: Vec<Pod> = (0..7).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        let here = bed.node(0)?;
        for answer in here.add_all(&pods)? {
            answer.success()?;
        }
        for pod in &pods {
            pod.reaches(bed.target()?)?;
            here.del(pod)?;
        }
        ensure!(kept(&bed.lab, &theirs)? == before, "{}", kept(&bed.lab, &theirs)?);
        bed.node_mut(0)?.stop()?;
        leaks::uninstall(bed.node(0)?)?;
        bed.lab.settle()?;
        ensure!(bed.lab.secondary_enis()? == [theirs.clone()], "{:?}", bed.lab.secondary_enis()?);
        ensure!(kept(&bed.lab, &theirs)? == before, "{}", kept(&bed.lab, &theirs)?);
        bed.lab.api()?.force_detach(&theirs).map_err(|e| anyhow!("{e}"))?;
        bed.lab.settle()?;
        by_hand(&bed.lab, |cloud, now| eni::delete(&mut cloud.vpc, &theirs, now))
    });
}

/// One request to the metadata service, from inside a pod; the answer is waited for so long.
fn metadata(pod: &Pod, question: String, limit: Duration) -> Result<io::Result<String>> {
    pod.inside(move || {
        let at = SocketAddr::from(([169, 254, 169, 254], 80));
        let mut stream = TcpStream::connect_timeout(&at, s(20))?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(question.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// What a pod gets that asks for a token, after it has seen that the service is there.
fn token(bed: &Bed, limit: Duration) -> Result<io::Result<String>> {
    let pod = Pod::new("p")?;
    bed.node(0)?.add(&pod)?;
    let host = "Host: 169.254.169.254\r\n";
    let plain = format!("GET /latest/meta-data/instance-id HTTP/1.0\r\n{host}\r\n");
    let id = metadata(&pod, plain, s(20))??;
    ensure!(id.ends_with(&bed.lab.instance("n1")?.id), "without a token: {id}");
    let life = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let asked = format!("PUT /latest/api/token HTTP/1.0\r\n{host}{life}\r\n");
    let answer = metadata(&pod, asked, limit)?;
    bed.node(0)?.del(&pod)?;
    Ok(answer)
}

/// The token protects the role's credentials; the daemon, which stands no hop away, has its own.
#[test]
fn with_a_hop_limit_of_one_pods_get_no_token_of_the_metadata_service() {
    let on_aws = Setup::default().on(CloudKind::Aws);
    run(on_aws.clone(), |bed| {
        let answer = token(bed, s(1))?;
        ensure!(answer.is_err(), "a pod got {answer:?}");
        Ok(())
    });
    run(on_aws.hop_limit(2), |bed| {
        let answer = token(bed, s(20))??;
        ensure!(
            answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"),
            "{answer}"
        );
        Ok(())
    });
}

/// A token as the kubelet projects it, for the service account `tidewayd`, until 2100.
const TOKEN: &str = "e30.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6a3ViZS1zeXN0ZW06dGlkZXdheWQiLCJleHAiOjQxMDI0NDQ4MDB9.x";

/// What the webhooks of RRSA and IRSA put into a pod's environment; nobody answers at the token service that it names.
fn environment(cloud: CloudKind, file: &str) -> Vec<(&'static str, String)> {
    let nobody = "http://127.0.0.1:9".to_owned();
    match cloud {
        CloudKind::Aliyun => vec![
            ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1234567890123456:role/TidewayNodeRole".to_owned()),
            (
                "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
                "acs:ram::1234567890123456:oidc-provider/ack".to_owned(),
            ),
            ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", file.to_owned()),
            ("ALIBABA_CLOUD_STS_ENDPOINT", nobody),
        ],
        CloudKind::Aws => vec![
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/TidewayNodeRole".to_owned()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_owned()),
            ("AWS_ENDPOINT_URL_STS", nobody),
        ],
    }
}

#[test]
fn the_configured_token_service_gives_a_service_account_its_keys() {
    let exchanges =
        [(CloudKind::Aliyun, "AssumeRoleWithOIDC"), (CloudKind::Aws, "AssumeRoleWithWebIdentity")];
    for (cloud, exchange) in exchanges {
        run(Setup::default().on(cloud).cold(), |bed| {
            let inside = bed.lab.api()?.description().endpoints.inside.clone();
            let here = bed.node_mut(0)?;
            here.config["cloud"]["stsEndpoint"] =
                json!(inside.context("the lab has no inside")?.api);
            let file = here.file("token");
            fs::write(&file, TOKEN)?;
            here.env.extend(environment(cloud, &file.display().to_string()));
            here.start()?;
            here.warm()?;
            ensure!(
                bed.lab.successes(exchange)? == 1,
                "{} exchanges",
                bed.lab.successes(exchange)?
            );
            Ok(())
        });
    }
}

#[test]
fn on_aws_no_shared_pod_gets_the_primary_address_of_an_eni() {
    run(Setup::default().on(CloudKind::Aws).sized(2, 4).pool("low", 3).pool("high", 3), |bed| {
        let here = bed.node(0)?;
        let pods: Vec<Pod> = (0..3).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        let mut ips = Vec::new();
        for pod in &pods {
            ips.extend(here.add(pod)?);
        }
        let primary = by_hand(&bed.lab, |cloud, _| {
            let secondary = cloud.vpc.enis().values().filter(|eni| !eni.primary);
            Ok(secondary.filter_map(|eni| eni.v4.first().copied()).collect::<Vec<_>>())
        })?;
        ensure!(primary.len() == 1, "{primary:?}");
        ensure!(ips.iter().all(|ip| primary.iter().all(|p| *ip != *p)), "{ips:?} of {primary:?}");
        for pod in &pods {
            here.del(pod)?;
        }
        Ok(())
    });
}
