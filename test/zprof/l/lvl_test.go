package main
import ("testing";"os";"time";"github.com/klauspost/compress/zstd";"path/filepath";"bytes";"io";"fmt")
func TestLvl(t *testing.T){
 files,_ := filepath.Glob("/tmp/zc/blobs/sha256/*")
 for _,f := range files { raw,_ := os.ReadFile(f); if len(raw)<1e6 {continue}
  d,_ := zstd.NewReader(bytes.NewReader(raw)); plain,_ := io.ReadAll(d)
  for _, fs := range []int{1<<20,2<<20,4<<20,8<<20,64<<20} { for _, l := range []zstd.EncoderLevel{zstd.SpeedDefault,zstd.SpeedBetterCompression,zstd.SpeedBestCompression} {
   e,_ := zstd.NewWriter(nil,zstd.WithEncoderLevel(l),zstd.WithWindowSize(8<<20),zstd.WithEncoderConcurrency(1)); n:=0; b:=time.Now()
   for i:=0;i<len(plain);i+=fs { n+=len(e.EncodeAll(plain[i:min(len(plain),i+fs)],nil)) }
   fmt.Println(len(plain),len(raw),fs>>20,l,n,time.Since(b))
  }}
 }
 raw,_ := os.ReadFile("/tmp/initrd"); if len(raw)>0 { d,_ := zstd.NewReader(bytes.NewReader(raw)); plain,_ := io.ReadAll(d)
 for _, l := range []zstd.EncoderLevel{zstd.SpeedDefault,zstd.SpeedBetterCompression,zstd.SpeedBestCompression} {
   e,_ := zstd.NewWriter(nil,zstd.WithEncoderLevel(l),zstd.WithEncoderConcurrency(1)); b:=time.Now()
   fmt.Println("initrd",len(plain),l,len(e.EncodeAll(plain,nil)),time.Since(b)) }}
}
