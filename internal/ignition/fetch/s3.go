package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	ign "github.com/coreos/ignition/v2/config/shared/errors"
)

// An object of S3.
type object struct {
	partition, region string // empty where the URL has none
	bucket            string // NAME-ACCOUNT for an access point
	accessPoint       bool
	key, version      string
}

// parseObject reads s3://BUCKET/KEY and both forms of arn: (Amazon S3 User
// Guide, "Amazon Resource Names").
func parseObject(u *url.URL) (object, error) {
	o := object{version: u.Query().Get("versionId")}
	if u.Scheme == "s3" {
		o.bucket, o.key = u.Host, strings.TrimLeft(u.Path, "/")
	} else if err := o.parseARN(u.Scheme + ":" + u.Opaque); err != nil {
		return o, err
	}
	if o.key == "" || !isHost(o.bucket) || !isHost(o.region) {
		return o, ign.ErrInvalidS3ARN
	}
	return o, nil
}

func (o *object) parseARN(arn string) error {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[2] != "s3" {
		return ign.ErrInvalidS3ARN
	}
	o.partition, o.region = parts[1], parts[3]
	resource, err := url.PathUnescape(parts[5])
	if err != nil {
		return ign.ErrInvalidS3ARN
	}
	point, ok := strings.CutPrefix(resource, "accesspoint/")
	if !ok {
		o.region = ""
		o.bucket, o.key, _ = strings.Cut(resource, "/")
		return nil
	}
	name, rest, _ := strings.Cut(point, "/")
	key, ok := strings.CutPrefix(rest, "object/")
	if !ok || o.region == "" || parts[4] == "" {
		return ign.ErrInvalidS3ARN
	}
	o.bucket, o.key, o.accessPoint = name+"-"+parts[4], key, true
	return nil
}

// isHost keeps a name from meaning more than a label of a host name.
func isHost(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == ""
}

// regions in which a partition's buckets are asked for when theirs is unknown.
var regions = map[string]string{"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}

func (f *Fetcher) s3(ctx context.Context, client *http.Client, u *url.URL, sink *sink) error {
	o, err := parseObject(u)
	if err != nil {
		return err
	}
	who, err := f.awsCredentials(ctx)
	if err != nil {
		return err
	}
	if o.accessPoint && who == nil {
		return errors.New("an access point takes credentials, and this machine has no role")
	}
	if o.region == "" {
		if o.region, err = f.bucketRegion(ctx, client, o); err != nil {
			return err
		}
	}
	q := question{url: f.objectURL(o, o.region), retry: true}
	if who != nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, q.url, nil)
		if err != nil {
			return err
		}
		who.sign(r, o.region, f.Now())
		q.headers = r.Header
	}
	return f.get(ctx, client, q, sink)
}

// bucketRegion asks any region of the partition where a bucket is (HeadBucket,
// header x-amz-bucket-region, which comes with refusals too).
func (f *Fetcher) bucketRegion(ctx context.Context, client *http.Client, o object) (string, error) {
	hint := regions[o.partition]
	if hint == "" {
		hint = f.awsRegion(ctx)
	}
	o.key, o.version = "", ""
	answer, err := f.ask(ctx, noRedirects(client), question{method: http.MethodHead, url: f.objectURL(o, hint), retry: true})
	if err != nil {
		return "", err
	}
	answer.Body.Close()
	region := answer.Header.Get("X-Amz-Bucket-Region")
	if region == "" || !isHost(region) {
		return "", fmt.Errorf("where is bucket %.63q: the server says %d", o.bucket, answer.StatusCode)
	}
	return region, nil
}

func noRedirects(c *http.Client) *http.Client {
	bare := *c
	bare.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &bare
}

// objectURL is of a bucket's dual-stack endpoint; a bucket with dots goes into
// the path, for no certificate has its name.
func (f *Fetcher) objectURL(o object, region string) string {
	domain := region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		domain += ".cn"
	}
	path := "/" + awsEscape(o.key, false)
	var base string
	switch {
	case f.S3 != "":
		base = f.S3 + "/" + o.bucket
	case o.accessPoint:
		base = "https://" + o.bucket + ".s3-accesspoint.dualstack." + domain
	case strings.Contains(o.bucket, "."):
		base = "https://s3.dualstack." + domain + "/" + o.bucket
	default:
		base = "https://" + o.bucket + ".s3.dualstack." + domain
	}
	if o.version != "" {
		path += "?versionId=" + url.QueryEscape(o.version)
	}
	return base + path
}
