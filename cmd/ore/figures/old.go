package figures

// oldSource says where the old system's numbers are from.
const oldSource = "the paper of 2006 on the system that ore descends from: 16 nodes, Gigabit Ethernet, VMware, Debian installed by Lucie, images passed on by dolly+"

// old is one number of the old system, or what it said where it gave none.
type old struct {
	arm      string
	machines int
	what     string
	said     string
	our      func(t table) string // the same of our rows, "" if they do not say
}

// olds returns all that is known of it.
func olds() []old {
	return []old{
		{armPackages, 16, "seconds until all machines are ready", "172 to 173", func(t table) string { return t.whole(armPackages, 16) }},
		{armDirect, 1, "saved of the install, against packages", "35.6 %", func(t table) string { return t.savedInstall(armDirect, 1) }},
		{armDirect, 1, "saved of the whole", "8.2 %", func(t table) string { return t.savedWhole(armDirect, 1) }},
		{armDirect, 16, "saved of the whole", "less than nothing: slower", func(t table) string { return t.savedWhole(armDirect, 16) }},
		{armChain, 16, "saved of the install", "35.9 %", func(t table) string { return t.savedInstall(armChain, 16) }},
		{armChain, 16, "saved of the whole", "12.4 %", func(t table) string { return t.savedWhole(armChain, 16) }},
		{armSlow, 1, "saved of the whole", "less than nothing: slower", func(t table) string { return t.savedWhole(armSlow, 1) }},
	}
}
