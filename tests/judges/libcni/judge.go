package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

const pluginType = "tideway-cni"

var versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// bed is what all cases share.
type bed struct {
	bin, socket, tickets, dir string
	real                      bool
	serial                    int
}

type testCase struct {
	name string
	run  func(*bed) error
}

func judge(args []string) error {
	flags := flag.NewFlagSet("judge", flag.ExitOnError)
	b := &bed{}
	flags.StringVar(&b.bin, "bin", "", "directory of "+pluginType)
	flags.StringVar(&b.socket, "socket", "", "socket of the daemon, or of the fake node")
	flags.StringVar(&b.tickets, "tickets", "", "directory of release tickets")
	flags.BoolVar(&b.real, "real", false, "the daemon is real: look into the kernel too")
	flags.Parse(args)
	dir, clean, err := workDir("libcni-judge-")
	if err != nil {
		return err
	}
	defer clean()
	b.dir = dir
	cases := []testCase{{"VERSION lists what we promise", versionsMatch}}
	for _, v := range versions {
		cases = append(cases, testCase{"ADD, ADD again, CHECK, DEL, DEL in " + v, func(b *bed) error { return life(b, v) }})
	}
	cases = append(cases,
		testCase{"STATUS of a ready daemon", status},
		testCase{"STATUS without daemon is code 50", statusWithoutDaemon},
		testCase{"DEL of an unknown container", delUnknown},
		testCase{"DEL with an empty namespace and without result", delWithoutNetns},
		testCase{"DEL without daemon succeeds by ticket", delWithoutDaemon},
		testCase{"ADD into a namespace that is gone is code 4", addGone},
		testCase{"CHECK after the attachment is gone fails", checkGone},
		testCase{"GC frees what the runtime no longer knows and keeps the rest", gc},
	)
	passed, failed := 0, 0
	for _, c := range cases {
		if err := c.run(b); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", c.name, err)
			continue
		}
		passed++
		fmt.Printf("ok   %s\n", c.name)
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return errors.New("the plugin does not do what libcni expects")
	}
	return nil
}

func deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 90*time.Second)
}

func (b *bed) list(version, socket string) (*libcni.NetworkConfigList, error) {
	conf, err := json.Marshal(map[string]any{
		"cniVersion": version,
		"name":       "judge",
		"plugins": []any{map[string]any{
			"type":    pluginType,
			"socket":  socket,
			"tickets": b.tickets,
			"capabilities": map[string]bool{
				"bandwidth": true, "portMappings": true, "io.kubernetes.cri.pod-annotations": true,
			},
		}},
	})
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(conf)
}

func (b *bed) cni(cache string) *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir([]string{b.bin}, filepath.Join(b.dir, cache), nil)
}

// container makes the arguments of one more container.
func (b *bed) container(netnsPath string) *libcni.RuntimeConf {
	b.serial++
	id := fmt.Sprintf("judge%08d", b.serial)
	return &libcni.RuntimeConf{
		ContainerID: id,
		NetNS:       netnsPath,
		IfName:      "eth0",
		Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "judge"}, {"K8S_POD_NAME", id}, {"K8S_POD_UID", id},
		},
		CapabilityArgs: map[string]any{
			"io.kubernetes.cri.pod-annotations": map[string]string{"example.com/a": "b"},
		},
	}
}

// within runs f with a fresh namespace and its container.
func (b *bed) within(f func(*netns, *libcni.RuntimeConf) error) error {
	rt := b.container("")
	ns, err := newNetns(b.dir, rt.ContainerID)
	if err != nil {
		return err
	}
	rt.NetNS = ns.path
	return errors.Join(f(ns, rt), ns.remove())
}

func wantCode(err error, code uint) error {
	said := &types.Error{}
	if !errors.As(err, &said) || said.Code != code {
		return fmt.Errorf("wanted code %d, got %v", code, err)
	}
	return nil
}

func versionsMatch(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	info, err := b.cni("version").GetVersionInfo(ctx, pluginType)
	if err != nil {
		return err
	}
	if !slices.Equal(info.SupportedVersions(), versions) {
		return fmt.Errorf("got %v", info.SupportedVersions())
	}
	return nil
}

func life(b *bed, version string) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list(version, b.socket)
	if err != nil {
		return err
	}
	cni := b.cni("life")
	if _, err := cni.ValidateNetworkList(ctx, list); err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	return b.within(func(ns *netns, rt *libcni.RuntimeConf) error {
		first, err := cni.AddNetworkList(ctx, list, rt)
		if err != nil {
			return fmt.Errorf("ADD: %w", err)
		}
		if err := b.looksRight(first, version, ns, rt); err != nil {
			return fmt.Errorf("result: %w", err)
		}
		second, err := cni.AddNetworkList(ctx, list, rt)
		if err != nil {
			return fmt.Errorf("second ADD: %w", err)
		}
		a, _ := json.Marshal(first)
		z, _ := json.Marshal(second)
		if string(a) != string(z) {
			return fmt.Errorf("two answers to one question: %s and %s", a, z)
		}
		if version != "0.3.1" {
			if err := cni.CheckNetworkList(ctx, list, rt); err != nil {
				return fmt.Errorf("CHECK: %w", err)
			}
		}
		for _, time := range []string{"first", "second"} {
			if err := cni.DelNetworkList(ctx, list, rt); err != nil {
				return fmt.Errorf("%s DEL: %w", time, err)
			}
		}
		return nil
	})
}

func (b *bed) looksRight(result types.Result, version string, ns *netns, rt *libcni.RuntimeConf) error {
	if result.Version() != version {
		return fmt.Errorf("version %s", result.Version())
	}
	now, err := types100.NewResultFromResult(result)
	if err != nil {
		return err
	}
	if len(now.IPs) == 0 || len(now.Interfaces) == 0 {
		return fmt.Errorf("empty: %v", now)
	}
	for _, ip := range now.IPs {
		if ip.Interface == nil || *ip.Interface >= len(now.Interfaces) {
			return fmt.Errorf("address %v is on no interface", ip.Address)
		}
		on := now.Interfaces[*ip.Interface]
		if on.Name != rt.IfName || on.Sandbox != ns.path {
			return fmt.Errorf("address %v is on %v", ip.Address, on)
		}
	}
	if !b.real {
		return nil
	}
	there, err := ns.addresses(rt.IfName)
	if err != nil {
		return fmt.Errorf("the kernel: %w", err)
	}
	for _, ip := range now.IPs {
		if !slices.Contains(there, ip.Address.String()) {
			return fmt.Errorf("%s is not on %s, which has %s", ip.Address.String(), rt.IfName, strings.Join(there, " "))
		}
	}
	return nil
}

func status(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list("1.1.0", b.socket)
	if err != nil {
		return err
	}
	return b.cni("status").GetStatusNetworkList(ctx, list)
}

func statusWithoutDaemon(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list("1.1.0", filepath.Join(b.dir, "nobody.sock"))
	if err != nil {
		return err
	}
	return wantCode(b.cni("status").GetStatusNetworkList(ctx, list), 50)
}

func delUnknown(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list("1.0.0", b.socket)
	if err != nil {
		return err
	}
	return b.within(func(_ *netns, rt *libcni.RuntimeConf) error {
		return b.cni("unknown").DelNetworkList(ctx, list, rt)
	})
}

func delWithoutNetns(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list("1.0.0", b.socket)
	if err != nil {
		return err
	}
	return b.within(func(ns *netns, rt *libcni.RuntimeConf) error {
		if _, err := b.cni("netns").AddNetworkList(ctx, list, rt); err != nil {
			return err
		}
		if err := ns.remove(); err != nil {
			return err
		}
		rt.NetNS = ""
		// Another cache: this DEL knows no result.
		if err := b.cni("netns-other").DelNetworkList(ctx, list, rt); err != nil {
			return err
		}
		return b.cni("netns").DelNetworkList(ctx, list, rt)
	})
}

func delWithoutDaemon(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list("1.0.0", filepath.Join(b.dir, "nobody.sock"))
	if err != nil {
		return err
	}
	return b.within(func(_ *netns, rt *libcni.RuntimeConf) error {
		if err := b.cni("ticket").DelNetworkList(ctx, list, rt); err != nil {
			return err
		}
		if b.real {
			return nil // the daemon may have drained it already
		}
		tickets, err := filepath.Glob(filepath.Join(b.tickets, rt.ContainerID+"*"))
		if err != nil || len(tickets) != 1 {
			return fmt.Errorf("wanted one ticket, found %v (%v)", tickets, err)
		}
		return os.Remove(tickets[0])
	})
}

func addGone(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list("1.0.0", b.socket)
	if err != nil {
		return err
	}
	rt := b.container(filepath.Join(b.dir, "gone"))
	_, err = b.cni("gone").AddNetworkList(ctx, list, rt)
	return wantCode(err, 4)
}

func checkGone(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list("1.0.0", b.socket)
	if err != nil {
		return err
	}
	return b.within(func(_ *netns, rt *libcni.RuntimeConf) error {
		cni := b.cni("check")
		if _, err := cni.AddNetworkList(ctx, list, rt); err != nil {
			return err
		}
		// Behind the back of the first cache, so that CHECK reaches the plugin with a result.
		if err := b.cni("check-other").DelNetworkList(ctx, list, rt); err != nil {
			return err
		}
		// 3: unknown container.
		if err := wantCode(cni.CheckNetworkList(ctx, list, rt), 3); err != nil {
			return fmt.Errorf("CHECK: %w", err)
		}
		return cni.DelNetworkList(ctx, list, rt)
	})
}

func gc(b *bed) error {
	ctx, cancel := deadline()
	defer cancel()
	list, err := b.list("1.1.0", b.socket)
	if err != nil {
		return err
	}
	cni, other := b.cni("gc"), b.cni("gc-other")
	return b.within(func(_ *netns, kept *libcni.RuntimeConf) error {
		return b.within(func(ns *netns, lost *libcni.RuntimeConf) error {
			if _, err := cni.AddNetworkList(ctx, list, kept); err != nil {
				return err
			}
			// libcni deletes itself what its cache knows; this one only the verb can free.
			if _, err := other.AddNetworkList(ctx, list, lost); err != nil {
				return err
			}
			// What the kernel still shows is not freed.
			if err := ns.remove(); err != nil {
				return err
			}
			valid := []types.GCAttachment{{ContainerID: kept.ContainerID, IfName: kept.IfName}}
			if err := cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
				return fmt.Errorf("GC: %w", err)
			}
			if err := cni.CheckNetworkList(ctx, list, kept); err != nil {
				return fmt.Errorf("GC took the living: %w", err)
			}
			// The list is one look, and the daemon frees after more of them. CHECK wants a namespace, and one that lives
			// keeps what it has: it is there only while it is asked for.
			for freed := false; !freed; {
				select {
				case <-ctx.Done():
					return errors.New("GC left the dead")
				case <-time.After(3 * time.Second):
				}
				// As a runtime does it, again and again: the kernel may still have shown the dead one at the first.
				if err := cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
					return fmt.Errorf("GC: %w", err)
				}
				again, err := newNetns(b.dir, lost.ContainerID)
				if err != nil {
					return err
				}
				freed = wantCode(other.CheckNetworkList(ctx, list, lost), 3) == nil
				if err := again.remove(); err != nil {
					return err
				}
			}
			return errors.Join(cni.DelNetworkList(ctx, list, kept), other.DelNetworkList(ctx, list, lost))
		})
	})
}
