function love.conf(t)
  t.window.title = "Sandboxes at work"
  t.window.width, t.window.height = 800, 600
  t.modules.audio, t.modules.sound, t.modules.physics, t.modules.joystick = false, false, false, false
end
