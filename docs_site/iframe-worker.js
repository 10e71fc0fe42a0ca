// From a disk a browser starts no worker, and the search lives in one. Here it lives in a hidden frame of the page.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const inside = frame.contentWindow
      this.ready = new Promise(done => (inside.loaded = done))
      inside.document.open()
      inside.document.write(`<!doctype html><script src="${url}" onload="loaded()"><\/script>`)
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      inside.document.close()
      this.inside = inside
    }
    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {
      this.inside.frameElement.remove()
    }
  }
}
