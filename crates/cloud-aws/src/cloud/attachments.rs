//! Create, attach and detach.

use aws_sdk_ec2::types::{NetworkInterfaceAttachmentChanges, ResourceType, Tag, TagSpecification};
use tideway_cloud::{CloudError, CreateEni, EniFilter, EniView, ErrorKind};
use tideway_model::{EniId, InstanceId};

use super::AwsCloud;
use crate::{places::Place, refusal, view};

/// What people see in the console.
const DESCRIPTION: &str = "Tideway: pod addresses";

impl AwsCloud {
    /// Of one family it makes prefixes or addresses; EC2 takes no call for both.
    pub(super) async fn create_eni(&self, asked: &CreateEni) -> Result<EniView, CloudError> {
        const ACTION: &str = "CreateNetworkInterface";
        let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::NetworkInterface)
            .set_tags(Some(asked.tags.iter().map(tag).collect()))
            .build();
        let count = |n: u16| (n > 0).then_some(i32::from(n));
        // The caller asks for the addresses afterwards.
        let beside = |n: u16, prefixes: u16| if prefixes > 0 { None } else { count(n) };
        let call = self
            .client()
            .create_network_interface()
            .subnet_id(asked.subnet.as_str())
            .set_groups(Some(asked.security_groups.iter().map(ToString::to_string).collect()))
            .description(DESCRIPTION)
            .set_ipv4_prefix_count(count(asked.prefixes_v4))
            .set_secondary_private_ip_address_count(beside(asked.secondary_v4, asked.prefixes_v4))
            .set_ipv6_prefix_count(count(asked.prefixes_v6))
            .set_ipv6_address_count(beside(asked.v6, asked.prefixes_v6))
            .tag_specifications(tags)
            .client_token(&asked.token);
        let answer = self.sent(ACTION, call.send()).await?;
        view::made(answer.network_interface(), asked).map_err(|e| e.of(ACTION))
    }

    /// Attaches, and then has the ENI deleted together with its instance. The second call may fail: the ENI is attached and
    /// can be used, and if it is left over one day the sweep takes it.
    pub(super) async fn attach_eni(
        &self,
        eni: &EniId,
        instance: &InstanceId,
    ) -> Result<(), CloudError> {
        const ACTION: &str = "AttachNetworkInterface";
        let Place { card, device } = self.place(eni, instance).await?;
        let call = self
            .client()
            .attach_network_interface()
            .network_interface_id(eni.as_str())
            .instance_id(instance.as_str())
            .device_index(device)
            .set_network_card_index((card > 0).then_some(card));
        let outcome = self.sent(ACTION, call.send()).await;
        let answer = outcome.inspect_err(|_| self.places().forget(eni, instance))?;
        // Without its id the detach will look for it.
        let Some(id) = answer.attachment_id() else { return Ok(()) };
        self.places().attached(eni, id);
        if let Err(error) = self.go_with_the_instance(eni, id).await {
            tracing::warn!(%eni, %error, remedy = %error.remedy(), "the ENI is attached but will outlive its instance; the sweep will find it then");
        }
        Ok(())
    }

    async fn go_with_the_instance(&self, eni: &EniId, attachment: &str) -> Result<(), CloudError> {
        let change = NetworkInterfaceAttachmentChanges::builder()
            .attachment_id(attachment)
            .delete_on_termination(true)
            .build();
        let call = self
            .client()
            .modify_network_interface_attribute()
            .network_interface_id(eni.as_str())
            .attachment(change);
        self.sent("ModifyNetworkInterfaceAttribute", call.send()).await.map(drop)
    }

    /// A free place, by what is known; what is not is asked first.
    async fn place(&self, eni: &EniId, instance: &InstanceId) -> Result<Place, CloudError> {
        if !self.places().knows_cards(instance) {
            // Once in a run, and only when nobody asked before. Without an answer there is one card.
            if let Err(error) = self.learn_cards(instance).await {
                tracing::debug!(%error, "the network cards of the instance are not known; the first one is used");
                self.places().assume_one_card(instance);
            }
        }
        let known = self.places().take(instance, eni);
        if let Some(place) = known {
            return Ok(place);
        }
        self.places().forget_fresh(instance);
        let all = EniFilter { instance: Some(instance.clone()), ..EniFilter::default() };
        self.describe_enis(&all).await?;
        self.places().take(instance, eni).ok_or_else(|| {
            let kind = ErrorKind::QuotaExceeded("network interfaces of the instance".to_owned());
            let text = format!("every place for a network interface of {instance} is taken");
            refusal::own("AttachNetworkInterface", kind, "NoFreePlace", text)
        })
    }

    async fn learn_cards(&self, instance: &InstanceId) -> Result<(), CloudError> {
        let known = self.places().type_of(instance).cloned();
        let name = match known {
            Some(name) => name,
            None => self.describe_instance(instance).await?.instance_type,
        };
        self.describe_type(&name).await.map(drop)
    }

    pub(super) async fn detach_eni(
        &self,
        eni: &EniId,
        instance: &InstanceId,
    ) -> Result<(), CloudError> {
        const ACTION: &str = "DetachNetworkInterface";
        let attachment = self.attachment(eni, instance).await?;
        let call = self.client().detach_network_interface().attachment_id(attachment);
        let outcome = self.sent(ACTION, call.send()).await;
        outcome.map(drop).inspect_err(|_| self.places().forget(eni, instance))
    }

    /// The id of the attachment of an ENI to this instance.
    async fn attachment(&self, eni: &EniId, instance: &InstanceId) -> Result<String, CloudError> {
        const ACTION: &str = "DetachNetworkInterface";
        if let Some(id) = self.attachment_known(eni, instance) {
            return Ok(id);
        }
        self.places().forget(eni, instance);
        let one = EniFilter { ids: vec![eni.clone()], ..EniFilter::default() };
        if self.describe_enis(&one).await?.is_empty() {
            return Err(self.not_listed(ACTION, &format!("network interface {eni}")));
        }
        self.attachment_known(eni, instance).ok_or_else(|| {
            let text = format!("network interface {eni} is not attached to {instance}");
            refusal::own(ACTION, ErrorKind::Conflict, "NotAttached", text)
        })
    }

    fn attachment_known(&self, eni: &EniId, instance: &InstanceId) -> Option<String> {
        let places = self.places();
        places.attachment(eni).filter(|a| a.instance == *instance)?.id.clone()
    }
}
