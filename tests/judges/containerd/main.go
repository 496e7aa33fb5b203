// Command containerd-judge is a kubelet's view of a container runtime: it speaks CRI, so that containerd calls the plugin as
// it does on a node.
//
//	containerd-judge image FILE             writes the sandbox image (this program) as an OCI archive
//	containerd-judge pods -socket PATH ...  runs sandboxes through the runtime; prints "N passed, M failed"
//	containerd-judge pause                  what runs in a sandbox
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	modes := map[string]func([]string) error{"image": writeImage, "pods": pods, "pause": pause}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: containerd-judge image|pods|pause [flags]")
		os.Exit(2)
	}
	if err := modes[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "containerd-judge:", err)
		os.Exit(1)
	}
}

func pause([]string) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
	return nil
}
