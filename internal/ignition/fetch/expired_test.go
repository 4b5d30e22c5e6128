package fetch

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/test/selfsigned"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

func TestAnExpiredCertificateIsTold(t *testing.T) {
	s, _ := selfsigned.Serve(t, nil, time.Now().Add(-time.Hour), "127.0.0.1")
	with := types.Ignition{Security: types.Security{TLS: types.TLS{CertificateAuthorities: []types.Resource{authority(s)}}}}
	_, err := get(t, Config{Total: 5 * time.Second, Wait: sleep}, with, resource(s.URL+"/a?CANARY"))
	if err == nil || !strings.HasPrefix(err.Error(), "fetch "+s.URL+"/a: not done in 5s, after ") || !strings.Contains(err.Error(), "certificate has expired") {
		t.Errorf("got %v, want the expiry told", err)
	}
}

//fuzz:parser s3.go:parseObject,parseARN,isHost
func FuzzObject(f *testing.F) {
	for _, s := range []string{"s3://b/k?versionId=1", "arn:aws:s3:::b/k", "arn:aws:s3:eu-west-1:1:accesspoint/p/object/k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		u, err := url.Parse(source)
		if err != nil || u.Scheme != "s3" && u.Scheme != "arn" {
			return
		}
		o, err := parseObject(u)
		if err != nil {
			return
		}
		got, err := url.Parse(New(Config{}).objectURL(o, "us-east-1"))
		if err != nil || !strings.HasSuffix(got.Hostname(), ".amazonaws.com") || got.User != nil {
			t.Errorf("%q leads to %v, %v, want Amazon", source, got, err)
		}
	})
}

//fuzz:parser fetch.go:fetch sink.go
func FuzzSource(f *testing.F) {
	f.Add("data:;base64,aGVsbG8=")
	f.Add("data:text/plain;charset=utf-8,a%20b")
	f.Fuzz(func(t *testing.T, source string) {
		if strings.HasPrefix(source, "data:") {
			_, _ = get(t, Config{Limit: 1 << 16}, types.Ignition{}, resource(source))
		}
	})
}
