//! What a pod needs of a node.

/// The three kinds of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An address (one of each family) of a shared ENI.
    Shared,
    /// A whole ENI (`aliyun/eni`).
    Exclusive,
    /// A member ENI (`aliyun/member-eni`).
    Member,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shared, Self::Exclusive, Self::Member];

    /// What people call one unit.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Shared => "address",
            Self::Exclusive => "ENI",
            Self::Member => "member ENI",
        }
    }
}

/// One figure for each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerKind<T> {
    /// For shared units.
    pub shared: T,
    /// For exclusive units.
    pub exclusive: T,
    /// For member units.
    pub member: T,
}

impl<T: Copy> PerKind<T> {
    /// The figure of one kind.
    pub fn of(&self, kind: Kind) -> T {
        match kind {
            Kind::Shared => self.shared,
            Kind::Exclusive => self.exclusive,
            Kind::Member => self.member,
        }
    }

    pub(super) fn of_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Shared => &mut self.shared,
            Kind::Exclusive => &mut self.exclusive,
            Kind::Member => &mut self.member,
        }
    }
}

impl PerKind<u32> {
    pub(super) fn add(&mut self, wants: Wants) {
        let figure = self.of_mut(wants.kind);
        *figure = figure.saturating_add(wants.units);
    }

    pub(super) fn take(&mut self, wants: Wants) {
        let figure = self.of_mut(wants.kind);
        *figure = figure.saturating_sub(wants.units);
    }
}

/// The units that a pod needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wants {
    /// Of which kind.
    pub kind: Kind,
    /// How many, at least 1.
    pub units: u32,
}

impl Wants {
    /// What a pod needs that asks for so many whole and member ENIs. A pod on the host's network needs nothing but the devices
    /// that it names, which the kubelet gives it all the same.
    pub fn of_pod(enis: u32, members: u32, host_network: bool) -> Option<Self> {
        match (enis, members) {
            (0, 0) if host_network => None,
            (0, 0) => Some(Self { kind: Kind::Shared, units: 1 }),
            (0, units) => Some(Self { kind: Kind::Member, units }),
            (units, _) => Some(Self { kind: Kind::Exclusive, units }),
        }
    }
}
