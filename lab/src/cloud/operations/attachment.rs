//! Attach and Detach: answered at once, finished later.

use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::latency::Work;
use crate::cloud::resources::{Attachment, Eni, EniState, Instance};
use crate::cloud::vpc::Vpc;

/// Where on its instance an ENI shall be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Device index; the lowest free one when not given.
    pub device: Option<u32>,
    /// Network card; the first one when not given.
    pub card: Option<u32>,
}

fn check_instance(instance: &Instance) -> Result<(), Cause> {
    if instance.status.settled() {
        return Ok(());
    }
    Err(Cause::InstanceState { id: instance.id.clone(), state: instance.status })
}

/// Begins to attach an ENI.
pub fn attach(
    vpc: &mut Vpc,
    id: &str,
    instance: &str,
    place: Place,
    now: Millis,
) -> Result<Attachment, Cause> {
    let instance = vpc.instance(instance)?.clone();
    let mut eni = vpc.eni(id)?.clone();
    check_instance(&instance)?;
    if eni.state != EniState::Available {
        return Err(Cause::EniState { id: id.to_owned(), state: eni.state });
    }
    if vpc.vswitch(&eni.vswitch)?.zone != instance.zone {
        return Err(Cause::OtherZone);
    }
    let limits = vpc.catalog.get(&instance.instance_type).cloned().ok_or(Cause::NoType)?;
    if let Some(card) = place.card.filter(|card| *card >= limits.network_card_quantity) {
        return Err(Cause::NoCard(card));
    }
    let card = place.card.unwrap_or(0);
    let there: Vec<&Eni> = vpc
        .enis()
        .values()
        .map(AsRef::as_ref)
        .filter(|e| e.instance.as_deref() == Some(instance.id.as_str()))
        .collect();
    let full = |used: usize, limit: u32| used >= usize::try_from(limit).unwrap_or(usize::MAX);
    if full(there.len(), limits.eni_quantity) {
        return Err(Cause::EnisOfType(limits.eni_quantity));
    }
    let devices: Vec<u32> = there
        .iter()
        .filter_map(|e| e.attachment.as_ref())
        .filter(|a| a.card == card)
        .map(|a| a.device)
        .collect();
    let of_card = usize::try_from(card).ok().and_then(|n| limits.eni_quantity_of_cards.get(n));
    if let Some(limit) = of_card.filter(|limit| full(devices.len(), **limit)) {
        return Err(Cause::EnisOfType(*limit));
    }
    let device = match place.device {
        Some(device) if devices.contains(&device) => return Err(Cause::DeviceTaken(device)),
        Some(device) => device,
        None => (1..=u32::MAX).find(|device| !devices.contains(device)).unwrap_or_default(),
    };
    if eni.slots_v4() > slots(limits.eni_private_ip_address_quantity) {
        return Err(Cause::AddressesOfEni { ipv6: false });
    }
    if eni.slots_v6() > slots(limits.eni_ipv6_address_quantity) {
        return Err(Cause::AddressesOfEni { ipv6: true });
    }
    let takes = vpc.draw(Work::Attach);
    let attachment = vpc.attachment(card, device, now);
    eni.state = EniState::Attaching;
    eni.instance = Some(instance.id);
    eni.attachment = Some(attachment.clone());
    eni.delete_on_release &= !vpc.profile.outlives;
    eni.due = Some(now.saturating_add(takes));
    vpc.put(eni);
    vpc.tick(now);
    Ok(attachment)
}

/// A published limit of slots.
fn slots(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Begins to detach an ENI from an instance. A repeat while Detaching is allowed and changes nothing.
pub fn detach(vpc: &mut Vpc, id: &str, instance: &str, now: Millis) -> Result<(), Cause> {
    let instance = vpc.instance(instance)?.clone();
    let mut eni = vpc.eni(id)?.clone();
    if eni.primary {
        return Err(Cause::PrimaryEni(id.to_owned()));
    }
    check_instance(&instance)?;
    match eni.state {
        EniState::InUse | EniState::Detaching => {}
        EniState::Available | EniState::Attaching | EniState::Deleting => {
            return Err(Cause::EniState { id: id.to_owned(), state: eni.state });
        }
    }
    if eni.instance.as_deref() != Some(instance.id.as_str()) {
        return Err(Cause::OtherInstance(id.to_owned()));
    }
    if eni.state == EniState::InUse {
        let takes = vpc.draw(Work::Detach);
        eni.state = EniState::Detaching;
        eni.due = Some(now.saturating_add(takes));
        vpc.put(eni);
        vpc.tick(now);
    }
    Ok(())
}
