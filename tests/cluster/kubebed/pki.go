package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// runPKI writes a throw-away CA, the API server's certificate, the service
// account key and one kubeconfig (client certificate inside) per user.
//
//	kubebed pki --dir D --server https://10.99.0.1:6443 --ip 10.99.0.1,10.96.0.1 admin=kubernetes-admin,system:masters ...
func runPKI(args []string) int {
	fs := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := fs.String("dir", "", "output directory")
	server := fs.String("server", "https://127.0.0.1:6443", "server URL in the kubeconfigs")
	ips := fs.String("ip", "127.0.0.1", "comma-separated addresses in the server certificate")
	fs.Parse(args)
	p := pki{dir: *dir, server: *server}
	if err := p.run(strings.Split(*ips, ","), fs.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pki:", err)
		return 1
	}
	return 0
}

type pki struct {
	dir, server string
	ca          *x509.Certificate
	caKey       *ecdsa.PrivateKey
	caPEM       []byte
	serial      int64
}

func (p *pki) run(ips, users []string) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	caCert, caKey, err := p.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "kubebed-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, "ca")
	if err != nil {
		return err
	}
	p.ca, p.caKey = caCert, caKey
	p.caPEM, _ = os.ReadFile(filepath.Join(p.dir, "ca.crt"))
	srv := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, s := range ips {
		srv.IPAddresses = append(srv.IPAddresses, net.ParseIP(s))
	}
	if _, _, err := p.issue(srv, "apiserver"); err != nil {
		return err
	}
	sa, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(p.dir, "sa.key"), sa); err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(&sa.PublicKey)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(p.dir, "sa.pub"), "PUBLIC KEY", pub); err != nil {
		return err
	}
	for _, u := range users { // file=user[,group]
		file, id, ok := strings.Cut(u, "=")
		if !ok {
			return fmt.Errorf("bad user %q, want file=user,group", u)
		}
		name, group, _ := strings.Cut(id, ",")
		c := &x509.Certificate{
			Subject:     pkix.Name{CommonName: name},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if group != "" {
			c.Subject.Organization = []string{group}
		}
		if _, _, err := p.issue(c, file); err != nil {
			return err
		}
		if err := p.kubeconfig(file); err != nil {
			return err
		}
	}
	return nil
}

func (p *pki) issue(c *x509.Certificate, file string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	p.serial++
	c.SerialNumber = big.NewInt(p.serial)
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	if !c.IsCA {
		c.KeyUsage = x509.KeyUsageDigitalSignature
	}
	parent, signer := p.ca, p.caKey
	if c.IsCA {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	if err := writePEM(filepath.Join(p.dir, file+".crt"), "CERTIFICATE", der); err != nil {
		return nil, nil, err
	}
	if err := writeKey(filepath.Join(p.dir, file+".key"), key); err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func (p *pki) kubeconfig(file string) error {
	b64 := base64.StdEncoding.EncodeToString
	crt, err := os.ReadFile(filepath.Join(p.dir, file+".crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(p.dir, file+".key"))
	if err != nil {
		return err
	}
	s := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: kubebed, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: user, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: kubebed, context: {cluster: kubebed, user: user}}]
current-context: kubebed
`, p.server, b64(p.caPEM), b64(crt), b64(key))
	return os.WriteFile(filepath.Join(p.dir, file+".kubeconfig"), []byte(s), 0o600)
}

func writeKey(path string, k *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, typ string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600)
}
