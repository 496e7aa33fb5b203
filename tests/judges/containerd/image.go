package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
)

const (
	pauseImage = "tideway.local/judge-pause:1"
	media      = "application/vnd.oci.image."
)

type file struct {
	name string
	mode int64
	body []byte
}

func archive(files ...file) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.body))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func digest(body []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(body)) }

func blob(body []byte) file {
	return file{"blobs/" + strings.ReplaceAll(digest(body), ":", "/"), 0o644, body}
}

func descriptor(kind string, body []byte) map[string]any {
	return map[string]any{"mediaType": media + kind, "digest": digest(body), "size": len(body)}
}

// writeImage makes an image of one layer with this program in it: sandboxes need no registry.
func writeImage(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: image FILE")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	layer, err := archive(file{"pause", 0o755, self})
	if err != nil {
		return err
	}
	config, _ := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": []string{"/pause", "pause"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	manifest, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": media + "manifest.v1+json",
		"config": descriptor("config.v1+json", config), "layers": []any{descriptor("layer.v1.tar", layer)},
	})
	entry := descriptor("manifest.v1+json", manifest)
	entry["annotations"] = map[string]string{"io.containerd.image.name": pauseImage}
	entry["platform"] = map[string]string{"architecture": runtime.GOARCH, "os": "linux"}
	index, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{entry}})
	image, err := archive(file{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		file{"index.json", 0o644, index}, blob(config), blob(layer), blob(manifest))
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], image, 0o644)
}
