package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// node is the runtime and the daemon below it.
type node struct {
	runtime                        cri.RuntimeServiceClient
	tideway, daemon, cgroup, major string
	pid                            int
	sandboxes                      map[string]string // pod name → sandbox
}

type testCase struct {
	name string
	run  func(context.Context, *node) error
}

func pods(args []string) error {
	flags := flag.NewFlagSet("pods", flag.ExitOnError)
	n := &node{sandboxes: map[string]string{}}
	socket := flags.String("socket", "", "CRI socket")
	flags.StringVar(&n.tideway, "tideway", "", "the program tideway")
	flags.StringVar(&n.daemon, "daemon", "", "the daemon's socket")
	flags.IntVar(&n.pid, "pid", 0, "process of the daemon; it is frozen for a moment")
	flags.StringVar(&n.cgroup, "cgroup", "/tideway-judge", "parent cgroup of the sandboxes")
	flags.StringVar(&n.major, "major", "1", "version of containerd that is expected")
	flags.Parse(args)
	connection, err := grpc.NewClient("unix://"+*socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	n.runtime = cri.NewRuntimeServiceClient(connection)
	cases := []testCase{
		{"the runtime is containerd " + n.major, version},
		{"the network becomes ready", func(ctx context.Context, n *node) error { return n.network(ctx, true) }},
		{"two sandboxes get two addresses, the daemon knows both", two},
		{"a sandbox is stopped twice and removed, its address is free", gone},
		{"a sandbox of the same name starts anew", again},
	}
	if n.major != "1" { // which knows no STATUS
		cases = append(cases, testCase{"a daemon that does not answer shows in the runtime's status, and comes back", silent})
	}
	cases = append(cases, testCase{"everything is removed", removeAll})
	passed, failed := 0, 0
	for _, c := range cases {
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		if err := c.run(ctx, n); err != nil {
			failed++
			fmt.Printf("FAIL containerd %s: %s: %v\n", n.major, c.name, err)
		} else {
			passed++
			fmt.Printf("ok   containerd %s: %s\n", n.major, c.name)
		}
		cancel()
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return errors.New("the runtime and the plugin do not agree")
	}
	return nil
}

func version(ctx context.Context, n *node) error {
	said, err := n.runtime.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		return err
	}
	if !strings.HasPrefix(strings.TrimPrefix(said.RuntimeVersion, "v"), n.major+".") {
		return fmt.Errorf("it says %s", said.RuntimeVersion)
	}
	return nil
}

// network waits until the runtime reports the network as ready, or as not ready.
func (n *node) network(ctx context.Context, wanted bool) error {
	last := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		status, err := n.runtime.Status(ctx, &cri.StatusRequest{})
		if err != nil {
			return err
		}
		for _, condition := range status.Status.Conditions {
			if condition.Type == cri.NetworkReady {
				if condition.Status == wanted {
					return nil
				}
				last = condition.Reason + ": " + condition.Message
			}
		}
	}
	return fmt.Errorf("NetworkReady is not %v after 30 s: %s", wanted, last)
}

func config(n *node, name string, attempt uint32) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:    &cri.PodSandboxMetadata{Name: name, Uid: "uid-" + name, Namespace: "judge", Attempt: attempt},
		Hostname:    name,
		Annotations: map[string]string{"example.com/a": "b"},
		Linux:       &cri.LinuxPodSandboxConfig{CgroupParent: n.cgroup},
	}
}

// start runs a sandbox and compares its address with what the daemon says of the pod.
func (n *node) start(ctx context.Context, name string, attempt uint32) (string, error) {
	ran, err := n.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config(n, name, attempt)})
	if err != nil {
		return "", err
	}
	n.sandboxes[name] = ran.PodSandboxId
	status, err := n.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: ran.PodSandboxId})
	if err != nil {
		return "", err
	}
	ip := status.Status.GetNetwork().GetIp()
	if ip == "" {
		return "", errors.New("the sandbox has no address")
	}
	if said := n.pod(name); !strings.Contains(said, `"`+ip+`"`) && !strings.Contains(said, `"`+ip+`/`) {
		return "", fmt.Errorf("the runtime shows %s, the daemon: %s", ip, said)
	}
	return ip, nil
}

func (n *node) pod(name string) string {
	said, _ := exec.Command(n.tideway, "pod", "judge/"+name, "-o", "json", "--socket", n.daemon).CombinedOutput()
	return string(said)
}

func two(ctx context.Context, n *node) error {
	a, err := n.start(ctx, "a", 0)
	if err != nil {
		return err
	}
	b, err := n.start(ctx, "b", 0)
	if err != nil {
		return err
	}
	if a == b {
		return fmt.Errorf("both have %s", a)
	}
	return nil
}

func (n *node) remove(ctx context.Context, name string) error {
	id := n.sandboxes[name]
	for range 2 {
		if _, err := n.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
			return err
		}
	}
	_, err := n.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	delete(n.sandboxes, name)
	return err
}

func gone(ctx context.Context, n *node) error {
	address, err := n.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: n.sandboxes["a"]})
	if err != nil {
		return err
	}
	if err := n.remove(ctx, "a"); err != nil {
		return err
	}
	if said := n.pod("a"); strings.Contains(said, `"`+address.Status.GetNetwork().GetIp()) {
		return fmt.Errorf("the daemon still shows %s", said)
	}
	return nil
}

func again(ctx context.Context, n *node) error {
	_, err := n.start(ctx, "a", 1)
	return err
}

// silent stops the daemon for a moment: containerd 2 calls STATUS and must find the network not ready, and ready again.
func silent(ctx context.Context, n *node) error {
	if err := syscall.Kill(n.pid, syscall.SIGSTOP); err != nil {
		return err
	}
	err := n.network(ctx, false)
	return errors.Join(err, syscall.Kill(n.pid, syscall.SIGCONT), n.network(ctx, true))
}

func removeAll(ctx context.Context, n *node) error {
	for name := range n.sandboxes {
		if err := n.remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
