package kubeapi

import (
	"encoding/base64"
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"
)

// ParseKubeconfig reads one with a single cluster and a single user whose
// certificate it holds or names, as this program writes it.
func ParseKubeconfig(raw []byte) (c Config, err error) {
	var doc struct {
		Clusters []struct {
			Cluster struct {
				Server string `yaml:"server"`
				CA     string `yaml:"certificate-authority-data"`
			} `yaml:"cluster"`
		} `yaml:"clusters"`
		Users []struct {
			User struct {
				Cert string `yaml:"client-certificate-data"`
				Key  string `yaml:"client-key-data"`

				CertFile string `yaml:"client-certificate"`
				KeyFile  string `yaml:"client-key"`
			} `yaml:"user"`
		} `yaml:"users"`
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return c, fmt.Errorf("kubeconfig: %w", err)
	}
	if len(doc.Clusters) != 1 || len(doc.Users) != 1 {
		return c, errors.New("kubeconfig: want one cluster and one user")
	}
	user := doc.Users[0].User
	c.URL, c.CertFile, c.KeyFile = doc.Clusters[0].Cluster.Server, user.CertFile, user.KeyFile
	for text, to := range map[*[]byte]string{&c.CA: doc.Clusters[0].Cluster.CA, &c.Cert: user.Cert, &c.Key: user.Key} {
		if *text, err = base64.StdEncoding.DecodeString(to); err != nil {
			return c, fmt.Errorf("kubeconfig: %w", err)
		}
	}
	return c, nil
}
