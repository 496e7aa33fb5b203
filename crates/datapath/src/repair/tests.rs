use proptest::prelude::*;
use tideway_model::{Bandwidth, Family, Mac, Mode, names};

use super::*;
use crate::{
    ForeignRoute, Link, LinkAddress, Neighbour, Route, Rule,
    fixture::{attachment, eni, facts, name},
    plan, wanted as want,
};

/// A kernel that takes operations literally.
#[derive(Debug, Clone, Default)]
struct Model {
    host: View,
    pod: View,
}

impl Model {
    fn at(&mut self, place: Place) -> &mut View {
        match place {
            Place::Host => &mut self.host,
            Place::Pod => &mut self.pod,
        }
    }

    fn apply(&mut self, ops: &[NetOp]) {
        for op in ops {
            self.one(op);
        }
    }

    fn drop_link(&mut self, place: Place, link: &IfName) {
        let view = self.at(place);
        view.links.remove(link);
        view.shapes.remove(link);
        view.addresses.retain(|a| a.link != *link);
        view.routes.retain(|r| r.link != *link);
        view.neighbours.retain(|n| n.link != *link);
    }

    fn one(&mut self, op: &NetOp) {
        match op.clone() {
            NetOp::Sysctl { .. } | NetOp::Nft(_) | NetOp::Redirect(..) => {}
            NetOp::Veth(v) => {
                let link = |mac, up| Link { mac: Some(mac), mtu: v.mtu, up };
                self.host.links.insert(v.host.clone(), link(v.host_mac, true));
                self.pod.links.insert(v.pod.clone(), link(v.pod_mac, false));
            }
            NetOp::TakeEni { mac, ifname, mtu } => {
                let mut links = self.host.links.iter();
                let from = links.find(|(_, link)| link.mac == Some(mac)).map(|(name, _)| name);
                let from = from.cloned().expect("the ENI is on the host");
                self.drop_link(Place::Host, &from);
                self.pod.links.insert(ifname, Link { mac: Some(mac), mtu, up: false });
            }
            NetOp::ReturnEni { mac, ifname, parked } => {
                self.drop_link(Place::Pod, &ifname);
                self.host.links.insert(parked, Link { mac: Some(mac), mtu: 1500, up: false });
            }
            NetOp::LinkUp(place, link) => self.set_up(place, &link, true),
            NetOp::LinkDown(place, link) => self.set_up(place, &link, false),
            NetOp::Ifb(place, link) => {
                self.at(place).links.insert(link, Link { mac: None, mtu: 1500, up: true });
            }
            NetOp::DropLink(place, link) => self.drop_link(place, &link),
            NetOp::RetireLinks(links) => links.iter().for_each(|l| self.drop_link(Place::Host, l)),
            NetOp::PutAddress(place, a) => {
                assert!(self.at(place).links.contains_key(&a.link), "address on a missing link");
                self.at(place).addresses.insert(a);
            }
            NetOp::CleanAddress(a) => {
                assert!(self.host.addresses.remove(&a));
                // As the kernel does with the last IPv4 address of a link.
                self.host.routes.retain(|r| r.link != a.link);
            }
            NetOp::CleanRoute(r) => assert!(self.host.foreign.remove(&r)),
            NetOp::PutRoute(place, r) => self.put_route(place, r),
            NetOp::DropRoute(place, r) => {
                self.at(place).routes.remove(&r);
            }
            NetOp::PutNeighbour(place, n) => {
                self.at(place).neighbours.retain(|o| (&o.link, o.ip) != (&n.link, n.ip));
                self.at(place).neighbours.insert(n);
            }
            NetOp::DropNeighbour(place, n) => {
                self.at(place).neighbours.remove(&n);
            }
            NetOp::PutRule(r) => {
                self.host.rules.insert(r);
            }
            NetOp::DropRule(r) => assert!(self.host.rules.remove(&r)),
            NetOp::Shape(place, link, tbf) => {
                self.at(place).shapes.insert(link, tbf.rate);
            }
        }
    }

    fn set_up(&mut self, place: Place, link: &IfName, up: bool) {
        if let Some(link) = self.at(place).links.get_mut(link) {
            link.up = up;
        }
    }

    fn put_route(&mut self, place: Place, r: Route) {
        let view = self.at(place);
        let link = view.links.get(&r.link);
        assert!(link.is_some_and(|l| l.up), "route over a link that is missing or down: {r}");
        if let (Some(via @ std::net::IpAddr::V6(ip)), true) = (r.via, r.table != 0)
            && ip.segments()[0] & 0xffc0 != 0xfe80
        {
            let direct = view
                .routes
                .iter()
                .any(|o| o.table == r.table && o.dst.addr() == via && o.via.is_none());
            assert!(direct, "the IPv6 gateway has no route of its own: {r}");
        }
        view.routes.retain(|o| (o.table, o.dst) != (r.table, r.dst));
        view.routes.insert(r);
    }
}

fn bandwidth() -> impl Strategy<Value = Bandwidth> {
    (prop_oneof![Just(0u64), Just(80_000_000)], prop_oneof![Just(0u64), Just(40_000_000)]).prop_map(
        |(ingress_rate, egress_rate)| Bandwidth {
            ingress_rate,
            egress_rate,
            ..Bandwidth::default()
        },
    )
}

fn pods() -> impl Strategy<Value = Vec<Attachment>> {
    let families = prop_oneof![Just((true, false)), Just((false, true)), Just((true, true))];
    let mode = prop_oneof![Just(Mode::Veth), Just(Mode::Exclusive)];
    let one = (10..60u8, mode, families, bandwidth());
    proptest::collection::vec(one, 0..6).prop_map(|list| {
        let unique: std::collections::BTreeMap<u8, _> =
            list.into_iter().map(|p| (p.0, p)).collect();
        unique.into_values().map(|(n, m, f, b)| attachment(n, m, f, b)).collect()
    })
}

/// A host with its base, one shared ENI, and the ENIs of exclusive pods.
fn prepared(pods: &[Attachment]) -> (Model, Vec<(SharedEniNet, IfName)>) {
    let mut model = Model::default();
    let shared = eni(1);
    let link = |mac, up| Link { mac: Some(mac), mtu: 1500, up };
    model.host.links.insert(name("eth0"), link(facts().primary.mac, true));
    model.host.links.insert(name("eth1"), link(shared.mac, false));
    for (i, a) in pods.iter().enumerate() {
        model.host.links.insert(name(&format!("eth{}", i + 10)), link(a.eni_mac, false));
    }
    model.apply(&plan::base(&facts()));
    let enis = vec![(shared.clone(), name("eth1"))];
    model.apply(&plan::prepare(&shared, &name("eth1"), &facts()));
    (model, enis)
}

/// What others own: of other protocols, on other links, in tables that are not ours.
fn foreign(model: &mut Model) {
    let bridge = name("br0");
    model.host.links.insert(bridge.clone(), Link { mac: None, mtu: 1500, up: true });
    model
        .host
        .addresses
        .insert(LinkAddress { link: bridge.clone(), net: "192.168.0.1/24".parse().unwrap() });
    let ip = "192.168.0.9".parse().unwrap();
    model.host.neighbours.insert(Neighbour { link: bridge.clone(), ip, mac: Mac([2; 6]) });
    let route = Route {
        table: 77,
        dst: "192.168.9.0/24".parse().unwrap(),
        via: None,
        link: bridge,
        src: None,
    };
    // Even with our protocol number: a table that is not ours is not touched.
    model.host.routes.insert(route.clone());
    model.host.foreign.insert(ForeignRoute { route, protocol: 3, metric: 0 });
}

proptest! {
    #[test]
    fn what_is_planned_is_what_is_wanted_and_needs_no_repair(pods in pods()) {
        let (mut model, enis) = prepared(&pods);
        for a in &pods {
            model.pod = View::default();
            model.apply(&plan::add(a, &facts()));
            let found = crate::check::attachment(a, &facts(), &model.host, &model.pod);
            prop_assert_eq!(found, vec![]);
            prop_assert_eq!(pod(a, &facts(), &model.pod), Repair::default());
        }
        prop_assert_eq!(host(&pods, &enis, &facts(), &model.host), Repair::default());
        // A second ADD of a veth pod changes nothing.
        for a in pods.iter().filter(|a| a.mode == Mode::Veth) {
            let before = model.host.clone();
            model.pod = View::default();
            model.apply(&plan::add(a, &facts()));
            prop_assert_eq!(&model.host, &before);
        }
    }

    #[test]
    fn del_takes_back_everything_that_add_made(pods in pods()) {
        let (mut model, _) = prepared(&pods);
        let before = model.host.clone();
        for a in &pods {
            model.pod = View::default();
            model.apply(&plan::add(a, &facts()));
            model.apply(&plan::del(a));
        }
        // The links of ENIs come back under another name.
        let count = |view: &View| view.links.values().filter(|l| l.mac.is_some()).count();
        prop_assert_eq!(count(&model.host), count(&before));
        prop_assert_eq!(&model.host.routes, &before.routes);
        prop_assert_eq!(&model.host.neighbours, &before.neighbours);
        prop_assert_eq!(&model.host.rules, &before.rules);
        prop_assert_eq!(&model.host.shapes, &before.shapes);
    }

    #[test]
    fn repair_heals_any_loss_in_one_run_and_never_touches_foreign_objects(
        pods in pods(), losses in proptest::collection::vec(any::<prop::sample::Index>(), 0..6), dhcp in any::<bool>(),
    ) {
        let pods: Vec<Attachment> = pods.into_iter().filter(|a| a.mode == Mode::Veth).collect();
        let (mut model, enis) = prepared(&pods);
        for a in &pods {
            model.apply(&plan::add(a, &facts()));
        }
        foreign(&mut model);
        let healthy = model.host.clone();
        let ours: Vec<Route> = healthy.routes.iter().filter(|r| r.table != 77).cloned().collect();
        for loss in &losses {
            model.host.routes.remove(loss.get(&ours));
            let rules: Vec<Rule> = healthy.rules.iter().copied().collect();
            model.host.rules.remove(loss.get(&rules));
        }
        let stray = Route {
            table: names::TABLE_PODS,
            dst: "10.0.0.99/32".parse().unwrap(),
            via: None,
            link: name("eth1"),
            src: None,
        };
        model.host.routes.insert(stray);
        if dhcp {
            let net = "10.0.0.55/24".parse().unwrap();
            model.host.addresses.insert(LinkAddress { link: name("eth1"), net });
        }
        let repair = host(&pods, &enis, &facts(), &model.host);
        prop_assert!(!repair.reports.is_empty());
        model.apply(&repair.ops);
        prop_assert_eq!(&model.host, &healthy);
        prop_assert_eq!(host(&pods, &enis, &facts(), &model.host), Repair::default());
    }

    #[test]
    fn retired_enis_leave_no_rule_and_no_route(pods in pods()) {
        let (mut model, _) = prepared(&pods);
        let ops = plan::retire(1, &model.host, Some(&name("eth1")));
        model.apply(&ops);
        prop_assert!(model.host.rules.iter().all(|r| r.priority == names::RULE_PODS));
        prop_assert!(model.host.routes.is_empty());
        prop_assert!(!model.host.links[&name("eth1")].up);
    }
}

#[test]
fn an_exclusive_pods_host_route_is_never_in_the_table_of_local_pods() {
    let a = attachment(31, Mode::Exclusive, (true, true), Bandwidth::default());
    let routes = want::host(&a).routes;
    assert_eq!(routes.len(), 2);
    assert!(routes.iter().all(|r| r.table == MAIN));
    let shared = attachment(11, Mode::Veth, (true, true), Bandwidth::default());
    assert!(want::host(&shared).routes.iter().all(|r| r.table == names::TABLE_PODS));
}

#[test]
fn rules_do_not_depend_on_the_number_of_pods() {
    let pods: Vec<Attachment> =
        (10..60).map(|n| attachment(n, Mode::Veth, (true, true), Bandwidth::default())).collect();
    assert!(pods.iter().all(|a| want::host(a).rules.is_empty()));
    let rules = want::base(&facts()).rules;
    assert_eq!(rules.iter().filter(|r| r.family == Family::V4).count(), 1);
}

#[test]
fn an_unwanted_link_of_ours_is_retired_and_a_foreign_one_of_a_similar_name_stays() {
    let (mut model, enis) = prepared(&[]);
    let gone = attachment(11, Mode::Veth, (true, false), Bandwidth::default());
    model.apply(&plan::add(&gone, &facts()));
    model.host.links.insert(name("twinkle"), Link { mac: None, mtu: 1500, up: true });
    let repair = host(&[], &enis, &facts(), &model.host);
    let link = host_link_name(&gone.key, gone.mode);
    assert!(repair.ops.contains(&NetOp::RetireLinks(vec![link])), "{:?}", repair.ops);
    assert!(!format!("{:?}", repair.ops).contains("twinkle"));
}

#[test]
fn a_pod_whose_link_is_gone_is_remade() {
    let (model, enis) = prepared(&[]);
    let pods = [attachment(11, Mode::Veth, (true, false), Bandwidth::default())];
    let repair = host(&pods, &enis, &facts(), &model.host);
    assert_eq!(repair.remake, vec![pods[0].key.clone()]);
    assert!(
        !repair
            .ops
            .iter()
            .any(|op| matches!(op, NetOp::PutRoute(_, r) if r.table == names::TABLE_PODS))
    );
}
