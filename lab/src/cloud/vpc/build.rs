//! A VPC from its configuration.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::{BuildError, EniView, Vpc};
use crate::cloud::addresses::AddressSpace;
use crate::cloud::catalog::{Catalog, CatalogError};
use crate::cloud::clock::Millis;
use crate::cloud::dice::Dice;
use crate::cloud::faults::Faults;
use crate::cloud::ledger::Ledger;
use crate::cloud::profile::Profile;
use crate::cloud::resources::{EniState, Instance, InstanceStatus, SecurityGroup, VSwitch};
use crate::config::LabConfig;

impl Vpc {
    /// Builds the VPC with its instances and their primary ENIs, already attached.
    pub fn new(config: LabConfig, now: Millis) -> Result<Self, BuildError> {
        let mut dice = Dice::new(config.seed);
        let profile = Profile::of(config.cloud);
        let catalog = Catalog::load(config.cloud, &config.type_overrides)?;
        let mut vpc = Self {
            profile,
            id: profile.id("vpc", &mut dice),
            owner: profile.owner.to_owned(),
            catalog,
            vswitches: BTreeMap::new(),
            groups: BTreeMap::new(),
            instances: BTreeMap::new(),
            faults: Faults::default(),
            ledger: Ledger::default(),
            dice,
            created: now,
            enis: EniView::new(),
            history: VecDeque::new(),
            effects: VecDeque::new(),
            last_effect: 0,
            last_index: 0,
            last_attachment: 0,
            config,
        };
        for wanted in vpc.config.vswitches.clone() {
            let id = profile.id(profile.subnet, &mut vpc.dice);
            let space = AddressSpace::new(wanted.ipv4, wanted.ipv6, profile.reserved);
            let made = VSwitch {
                id: id.clone(),
                tags: vpc.name_tag(&wanted.name),
                name: wanted.name,
                zone: wanted.zone,
                space,
                created: now,
            };
            vpc.vswitches.insert(id, made);
        }
        for wanted in vpc.config.security_groups.clone() {
            let id = profile.id("sg", &mut vpc.dice);
            let made = SecurityGroup {
                id: id.clone(),
                name: wanted.name,
                inner: wanted.inner,
                rules: wanted.rules,
                tags: BTreeMap::new(),
                created: now,
            };
            vpc.groups.insert(id, made);
        }
        for wanted in vpc.config.instances.clone() {
            if vpc.catalog.get(&wanted.instance_type).is_none() {
                return Err(CatalogError::UnknownType(wanted.instance_type).into());
            }
            let Some(vswitch) = vpc.vswitch_named(&wanted.vswitch).cloned() else {
                return Err(BuildError::NoAddress {
                    instance: wanted.name,
                    vswitch: wanted.vswitch,
                });
            };
            let id = profile.id("i", &mut vpc.dice);
            let groups = vpc
                .groups
                .values()
                .filter(|g| wanted.security_groups.contains(&g.name))
                .map(|g| g.id.clone())
                .collect();
            let mut eni = vpc.blank_eni(&vswitch.id, groups, now);
            eni.primary = true;
            eni.state = EniState::InUse;
            eni.instance = Some(id.clone());
            eni.attachment = Some(vpc.attachment(0, 0, now));
            eni.delete_on_release = true;
            let made = Instance {
                id: id.clone(),
                tags: vpc.name_tag(&wanted.name),
                name: wanted.name,
                instance_type: wanted.instance_type,
                zone: vswitch.zone.clone(),
                vswitch: vswitch.id.clone(),
                primary_eni: eni.id.clone(),
                status: InstanceStatus::Running,
                http_tokens: wanted.metadata.http_tokens,
                hop_limit: wanted.metadata.hop_limit,
                sysctls: wanted.sysctls,
                created: now,
            };
            let full = |_| BuildError::NoAddress {
                instance: made.name.clone(),
                vswitch: vswitch.name.clone(),
            };
            let address = vswitch.space.find_v4().map_err(full)?;
            vpc.take(&mut eni, IpAddr::V4(address), now).map_err(full)?;
            if let Ok(address) = vswitch.space.find_v6(&mut vpc.dice) {
                vpc.take(&mut eni, IpAddr::V6(address), now).map_err(full)?;
            }
            vpc.instances.insert(id, made);
            vpc.enis.insert(eni.id.clone(), Arc::new(eni));
        }
        vpc.remember(now);
        Ok(vpc)
    }

    fn name_tag(&self, name: &str) -> BTreeMap<String, String> {
        let wanted = self.profile.name_tags.then(|| ("Name".to_owned(), name.to_owned()));
        wanted.into_iter().collect()
    }
}
